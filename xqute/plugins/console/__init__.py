"""Shows people how a run goes: a live bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

from .plugin import Console

__all__ = ["Console"]
