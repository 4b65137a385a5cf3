"""Schedulers: where jobs run."""
