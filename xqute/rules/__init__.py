"""Rules: plain functions that decide; no await, no clock, no disk."""
