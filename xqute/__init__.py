"""xqute: an asyncio job manager with pluggable schedulers.

Importing the package imports nothing else; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calls import Call, Task, cmd, task
    from .errors import (
        BackendAnswerError,
        BackendFull,
        BackendUnavailable,
        CycleError,
        DependencyFailed,
        GraphError,
        Halted,
        JobFailed,
        JobKilled,
        JobNotFound,
        MetadirError,
        MissingDependencies,
        NoEventLoop,
        OptionError,
        Reject,
        ResultTooLarge,
        SchedulerError,
        SchemaMismatch,
        Skip,
        StoreError,
        StoreUnavailable,
        SubmitError,
        XquteError,
    )
    from .events import Progress
    from .inside.current import CurrentJob, current_job
    from .inside.running import CommandFailed
    from .job import Job
    from .plugin import simplug
    from .producer import Xqute
    from .report import Report
    from .rules.freshness import BuildStatus
    from .scheduler import Scheduler
    from .states import Answer, JobErrorStrategy, JobStatus, Presence, Reason, Status
    from .store import Store
    from .told import LogLine

_HOMES = {
    "calls": ("Call", "Task", "cmd", "task"),
    "errors": (
        "BackendAnswerError",
        "BackendFull",
        "BackendUnavailable",
        "CycleError",
        "DependencyFailed",
        "GraphError",
        "Halted",
        "JobFailed",
        "JobKilled",
        "JobNotFound",
        "MetadirError",
        "MissingDependencies",
        "NoEventLoop",
        "OptionError",
        "Reject",
        "ResultTooLarge",
        "RunNotFound",
        "RunOwned",
        "SchedulerError",
        "SchemaMismatch",
        "Skip",
        "StoreError",
        "StoreUnavailable",
        "SubmitError",
        "XquteError",
    ),
    "events": ("Progress",),
    "inside.current": ("CurrentJob", "current_job"),
    "inside.running": ("CommandFailed",),
    "job": ("Job",),
    "plugin": ("simplug",),
    "producer": ("Xqute",),
    "report": ("Report",),
    "rules.freshness": ("BuildStatus",),
    "scheduler": ("Scheduler",),
    "states": ("Answer", "JobErrorStrategy", "JobStatus", "Presence", "Reason", "Status"),
    "store": ("Store",),
    "told": ("LogLine",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Answer",
    "BackendAnswerError",
    "BackendFull",
    "BackendUnavailable",
    "BuildStatus",
    "Call",
    "CommandFailed",
    "CurrentJob",
    "CycleError",
    "DependencyFailed",
    "GraphError",
    "Halted",
    "Job",
    "JobErrorStrategy",
    "JobFailed",
    "JobKilled",
    "JobNotFound",
    "JobStatus",
    "LogLine",
    "MetadirError",
    "MissingDependencies",
    "NoEventLoop",
    "OptionError",
    "Presence",
    "Progress",
    "Reason",
    "Reject",
    "Report",
    "ResultTooLarge",
    "RunNotFound",
    "RunOwned",
    "Scheduler",
    "SchedulerError",
    "SchemaMismatch",
    "Skip",
    "Status",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "SubmitError",
    "Task",
    "Xqute",
    "XquteError",
    "cmd",
    "current_job",
    "simplug",
    "task",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used (PEP 562)."""
    home = _HOME.get(name)
    if name == "__version__":
        value = import_module("importlib.metadata").version("xqute")
        globals()[name] = value
        return value
    if home is None:
        msg = f"module 'xqute' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return __all__
