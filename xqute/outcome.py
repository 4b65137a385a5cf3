"""How a job that ended is read: its result, and what it raised. Files only, and nothing is guessed."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from . import metadir
from .errors import JobFailed, JobKilled, MetadirError, ResultTooLarge, XquteError
from .events import Progress
from .inside.failing import read_error
from .inside.results import Unpickler, read_result
from .settings import REASON_CHARS, RESULT_MAX_BYTES
from .states import JobStatus

if TYPE_CHECKING:
    from .job import Job


def source_of(job: Job) -> str:
    """Where another job finds the result of this one, which ended well."""
    if job.status is JobStatus.SKIPPED:
        return "skipped"
    return "result" if job.call.function is not None else str(job.stdout_file)


def ended_as(job: Job) -> str:
    """How a job ended and why, its status said once: "FAILED: EXIT 1", "KILLED by request"."""
    name, reason = job.status.name, str(job.reason)
    return reason if reason.startswith(name) else f"{name}: {reason}"


def _is_removed(job: Job) -> bool:
    """Whether its result was removed with its directory; a file of the user's own is not there."""
    return job.removed and (job.call.function is not None or job.call.options.stdout is None)


def result_of(job: Job) -> Any:
    """What a job that ended well returned, or printed."""
    if job.status is JobStatus.SKIPPED:
        return None
    if _is_removed(job):
        msg = f"{job} has ended well, and its result was removed with its directory, as keep= of its run says"
        raise MetadirError(msg)
    if job.call.function is not None:
        return _returned(job)
    try:
        content = metadir.read_output(job.stdout_file, RESULT_MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError) as exc:
        if not job.claims():
            return ""  # its script is its author's, and may print nowhere
        msg = f"{job} has ended well, and what it printed is gone: there is no {job.stdout_file} any more"
        raise MetadirError(msg) from exc
    except OSError as exc:
        raise _unreadable(job, exc) from exc
    if isinstance(content, int):
        msg = f"{job}: its output of {content} bytes is too large for a result"
        raise ResultTooLarge(f"{msg}; read {job.stdout_file}")
    return content.decode("utf-8", "surrogateescape").rstrip("\n")


def _unreadable(job: Job, error: OSError) -> MetadirError:
    return MetadirError(
        f"{job} has ended well, and its result can't be read now: {error.strerror} ({error.filename})"
    )


def _returned(job: Job) -> Any:
    """What a Python call returned.

    Raises:
        MetadirError: The file of it is gone or damaged, or can't be read now.
        XquteError: It can't be made again here: its class is another one by now, or not there.
    """
    path = f"{job.directory}/{metadir.RESULT}"
    try:
        return read_result(path)
    except XquteError:
        raise
    except Exception as exc:
        if isinstance(exc, OSError) and exc.filename == path:
            raise _unreadable(job, exc) from exc
        msg = f"the result of {job} can't be made from {path}: {type(exc).__name__}: {exc}"
        raise XquteError(f"{msg}; was its code changed since? Push it again with another version=") from exc


def failure_of(job: Job) -> JobFailed:
    """What `await job` raises for one that FAILED; what the call raised is its cause."""
    told = "\n".join(f"  {line}" for line in job.stderr_tail())
    nothing = "its directory was removed" if job.removed else "it wrote nothing on stderr"
    end = f"; its last lines on stderr:\n{told}" if told else f"; {nothing}"
    head = f"{job} failed: {job.reason} (attempt {job.attempt}, see {job.directory})"
    failure = JobFailed(head + end, job, job.reason)
    failure.__cause__ = raised_by(job)
    return failure


def killed(job: Job) -> JobKilled:
    """What `await job` raises for one that was KILLED."""
    return JobKilled(f"{job} was killed: {job.reason}", job, job.reason)


def raised_by(job: Job) -> BaseException | None:
    """The exception that a Python call raised, as it was; None where it can't be had."""
    if job.call.function is None:
        return None
    document = read_error(f"{job.directory}/{metadir.ERROR}")
    first = error = _raised(document)
    while document is not None and error is not None:
        document = document.get("cause")
        cause = _raised(document)
        if document is not None and document.get("how") == "cause":
            error.__cause__ = cause
        else:
            error.__context__ = cause
        error = cause
    return first


def _raised(document: Any) -> BaseException | None:
    """One exception of a chain."""
    if not isinstance(document, dict) or not document.get("pickle"):
        return None
    try:
        error = Unpickler(io.BytesIO(base64.b64decode(document["pickle"]))).load()
    except Exception:  # noqa: BLE001  its class is not here, or does not load: the text is
        return None
    return error if isinstance(error, BaseException) else None


def raised_text(job: Job) -> str:
    """What a Python call raised, in one line: its type and message; empty when nothing says so."""
    document = read_error(f"{job.directory}/{metadir.ERROR}") if job.call.inside else None
    if document is None:
        return ""
    name = str(document.get("type", ""))
    message = " / ".join(
        line.strip() for line in str(document.get("message", "")).splitlines() if line.strip()
    )
    told = f"{name}: {message}" if message else name
    return told if len(told) <= REASON_CHARS else f"{told[:REASON_CHARS]}…"


def summary_of(job: Job) -> dict[str, Any]:
    """A job in a list: what it is, where it stands and how far it is, in plain values."""
    progress = job.progress if job.start else Progress()
    takes = job.call.options.amounts(job.next_attempt)
    return {
        "id": job.id,
        "task": job.task,
        "name": job.name,
        "title": job.title,
        "user": job.user,
        "tags": list(job.tags),
        "cpus": takes.get("cpus"),
        "mem": takes.get("mem"),
        "time": takes.get("time"),
        "archived": job.archived,
        "state": job.status.name.lower(),
        "stage": progress.stage,
        "progress": 100.0 if job.status is JobStatus.FINISHED else progress.percent,
        "created": job.created,
    }
