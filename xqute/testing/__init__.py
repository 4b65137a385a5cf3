"""Public helpers for tests: conformance suites, and verified fakes.

- `SchedulerConformance`: the promises of a scheduler, to be inherited; `Bench`: what it tries one on.
- `StoreConformance`: the promises of a store, to be inherited.
- `FakeScheduler`, `TellingFakeScheduler`: run no processes; they act a `Play` for each start.
- `ToyCluster`: a batch system in a directory, which really starts processes, with switches for faults; with
  `face=toyslurm.Slurm` or `toysge.Sge` its commands are those of Slurm or Grid Engine.
- `AutojumpLoop`, `clock_time`: virtual time, which jumps; `Stalled`: nothing will ever happen again.

Each is loaded when it is first used; the suites need pytest and pytest-asyncio.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bench import Bench
    from .clock import AutojumpLoop, Stalled, clock_time
    from .fake import FakeScheduler, Play, TellingFakeScheduler
    from .schedulers import SchedulerConformance
    from .stores import StoreConformance
    from .toycluster import SurvivedError, ToyCluster

_HOMES = {
    "bench": ("Bench",),
    "clock": ("AutojumpLoop", "Stalled", "clock_time"),
    "fake": ("FakeScheduler", "Play", "TellingFakeScheduler"),
    "schedulers": ("SchedulerConformance",),
    "stores": ("StoreConformance",),
    "toycluster": ("SurvivedError", "ToyCluster"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

#: The modules of the suites: what they assert is told with its values, as in a test's own module.
_SUITES = ("naming", "needing", "owning", "running", "schedulers", "sharing", "stores")

__all__ = [
    "AutojumpLoop",
    "Bench",
    "FakeScheduler",
    "Play",
    "SchedulerConformance",
    "Stalled",
    "StoreConformance",
    "SurvivedError",
    "TellingFakeScheduler",
    "ToyCluster",
    "clock_time",
]


def _tell_values() -> None:
    """Have pytest, where it is loaded, rewrite the assertions of the suites that are not."""
    pytest = sys.modules.get("pytest")
    if pytest is not None:
        suites = (f"{__name__}.{suite}" for suite in _SUITES)
        pytest.register_assert_rewrite(*(suite for suite in suites if suite not in sys.modules))


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        msg = f"module 'xqute.testing' has no attribute {name!r}"
        raise AttributeError(msg)
    _tell_values()  # again: pytest may be there since
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return __all__


_tell_values()
