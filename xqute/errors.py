"""Every exception of xqute, and the tree they form.

```
XquteError
├─ OptionError (ValueError)      a wrong or misspelt option, an unknown scheduler
├─ GraphError (ValueError)       calls that can't be accepted as a tree
│  └─ CycleError                 a call needs itself
├─ SchedulerError                trouble with a scheduler; knows the command and its output
│  ├─ SubmitError                refused: trying the same again will fail again
│  ├─ BackendUnavailable         could not ask: try later, assume nothing
│  │  └─ BackendFull             it takes no more now: try later, nothing was handed over
│  └─ BackendAnswerError         it answered, and the answer can't be read
├─ StoreError                    the store can't do what it must
│  ├─ StoreUnavailable           not now (locked, disk full): try again, nothing was changed
│  └─ SchemaMismatch             written by a newer xqute
├─ MetadirError                  the metadir can't be made, written or found again
├─ NoEventLoop                   made or called where no event loop runs
├─ MissingDependencies           results that a build needs are not there, and it may not build them
├─ JobNotFound (LookupError)     no such job in the store
├─ RunNotFound (LookupError)     no such run in the store
├─ RunOwned                      another process owns the run, or took it over
├─ JobFailed                     raised by `await job`: it ended FAILED
│  ├─ JobKilled                  … it ended KILLED; raised inside a Python call that is asked to stop
│  └─ DependencyFailed           … it can't start, because a job it needs ended badly
├─ ResultTooLarge                a command printed more than a result may hold
└─ Halted                        the run was stopped before the job (or the block) could end
Reject                           raised by a plugin in `on_job_finishing`; not an error of xqute
Skip                             raised by a call that has nothing to do; not an error of xqute
```

Whether trying again can help is said by the type, never by the text.
"""

from __future__ import annotations

from collections.abc import Sequence


class XquteError(Exception):
    """The root of everything xqute raises on purpose."""


class OptionError(XquteError, ValueError):
    """An option, a scheduler's name or a value that xqute does not know; names the nearest it does."""


class GraphError(XquteError, ValueError):
    """Calls that can't be accepted as a tree; nothing was stored."""


class CycleError(GraphError):
    """A call needs itself, by way of the calls that the message names."""


class SchedulerError(XquteError):
    """A scheduler could not do what was asked.

    Args:
        message: One sentence: what was tried and what went wrong.
        scheduler: The scheduler's name.
        argv: The command that was run, where there was one.
        output: What it said, as text.
    """

    def __init__(
        self, message: str, *, scheduler: str = "", argv: Sequence[str] = (), output: str = ""
    ) -> None:
        """Keep the facts beside the sentence."""
        super().__init__(message)
        self.scheduler = scheduler
        self.argv = tuple(argv)
        self.output = output


class SubmitError(SchedulerError):
    """The scheduler refused the job; trying the same again will fail again."""


class BackendUnavailable(SchedulerError):
    """The scheduler could not be asked; nothing may be concluded, try later."""


class BackendFull(BackendUnavailable):
    """The scheduler takes no more jobs now; nothing was handed over, try later."""


class BackendAnswerError(SchedulerError):
    """The scheduler answered something that can't be read."""


class StoreError(XquteError):
    """The store can't do what it must."""


class StoreUnavailable(StoreError):
    """The store can't do it now (locked, disk full); nothing was changed, try again."""


class SchemaMismatch(StoreError):
    """The store was written by a newer xqute; this one would damage it."""


class MetadirError(XquteError):
    """The metadir can't be made, can't be written, or has vanished."""


class NoEventLoop(XquteError, RuntimeError):
    """Made or called where no event loop runs."""


class MissingDependencies(XquteError):
    """Results that a build needs are not there, and it was told to build none; `.names` says which."""

    def __init__(self, message: str, names: Sequence[str] = ()) -> None:
        """Keep the names of the calls beside the sentence."""
        super().__init__(message)
        self.names = tuple(names)


class JobNotFound(XquteError, LookupError):
    """No such job in the store."""


class RunNotFound(XquteError, LookupError):
    """No such run in the store."""


class RunOwned(XquteError):
    """Another process owns the run: it lives, or took the run over while this one was away."""


class JobFailed(XquteError):
    """Raised by `await job` when the job ended FAILED; `.job` is the job, `.reason` says why."""

    def __init__(self, message: str, job: object = None, reason: object = None) -> None:
        """Keep the job and its reason beside the sentence."""
        super().__init__(message)
        self.job = job
        self.reason = reason


class JobKilled(JobFailed):
    """Raised by `await job` when the job ended KILLED: it was stopped on request."""


class DependencyFailed(JobFailed):
    """Raised by `await job` when the job can't start: a job it needs ended badly, which `.cause` is.

    It stays WAITING; when that job is run again and ends well, it follows.
    """

    def __init__(self, message: str, job: object = None, reason: object = None, cause: object = None) -> None:
        """Keep the job to blame beside the sentence."""
        super().__init__(message, job, reason)
        self.cause = cause


class ResultTooLarge(XquteError):
    """The output of a command is larger than a result may be; the message names the file."""


class Halted(XquteError):
    """The run was stopped before this could end; `.reason` is the run's `stop_reason`."""

    def __init__(self, message: str, reason: object = None) -> None:
        """Keep the stop reason beside the sentence."""
        super().__init__(message)
        self.reason = reason


class Reject(Exception):
    """Raised in `on_job_finishing` to turn a success into a failed attempt; its text is the reason."""


class Skip(Exception):
    """Raised by a call that has nothing to do: its job ends SKIPPED, its text is the reason."""
