"""What has happened to a job, judged from what is known about it.

Pure: facts in, an event or nothing out. Nothing is ever concluded from not knowing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..states import Answer, FileNews, FileState, JobEvent, JobStatus, Presence, Reason, WaitReason

#: An answer nobody gave.
NOT_ASKED = Answer(Presence.UNKNOWN)


class Evidence(NamedTuple):
    """Everything known about a job's newest start at one moment.

    Attributes:
        status: Where the job stands.
        files: What its files say.
        answer: What its scheduler says.
        waited: Seconds since the files ended, or since the scheduler first said it is gone.
        grace: Seconds that files may be late.
        claims: Its script is our wrapper.
        timed_out: The engine asked it to stop because it ran, or waited, too long; its reason.
        stopped_by: Who asked to stop it.
        resubmits: How often this start was handed over again.
        max_resubmits: How often it may be.
        confirms: Its scheduler is to confirm that nothing of a job that was asked to stop is left.
    """

    status: JobStatus
    files: FileNews
    answer: Answer = NOT_ASKED
    waited: float = 0.0
    grace: float = 0.0
    claims: bool = True
    timed_out: Reason | None = None
    stopped_by: str = ""
    resubmits: int = 0
    max_resubmits: int = 0
    confirms: bool = False


class Judgement(NamedTuple):
    """An event and its reason; FAILED stands for any failed start, `rules.verdict` says what follows."""

    event: JobEvent
    reason: Reason
    rc: int | None = None


def judge(evidence: Evidence) -> Judgement | None:
    """The event that the evidence proves; None: nothing yet."""
    if evidence.files.state in _ENDED:
        return _judge_killing_end(evidence) if evidence.status is JobStatus.KILLING else _judge_end(evidence)
    if evidence.files.state is FileState.RUNNING and evidence.status is JobStatus.SUBMITTED:
        return Judgement(JobEvent.STARTED, Reason("RUNNING"))
    if evidence.answer.presence is not Presence.GONE:
        return None
    if evidence.status is JobStatus.KILLING:
        return Judgement(JobEvent.KILLED, _killed(evidence))
    return None if _may_hear_more(evidence) else _judge_gone(evidence)


def overdue(evidence: Evidence, queued: float, most: float | None) -> Reason | None:
    """Why a job is to be taken out of its scheduler's queue; None: it may stay.

    Args:
        evidence: What is known of it.
        queued: Seconds since it was handed over.
        most: Seconds that it may wait there; None: as long as it likes.
    """
    waits = evidence.status is JobStatus.SUBMITTED and evidence.files.state is FileState.ABSENT
    if most is None or queued < most or not waits or evidence.answer.presence is not Presence.PENDING:
        return None
    told = evidence.answer.reason.detail.get("message") if evidence.answer.reason is not None else None
    return Reason("PENDING_TIMEOUT", {"timeout": f"{most:g}", **({"message": told} if told else {})})


def _may_hear_more(evidence: Evidence) -> bool:
    """Whether its files may be late, or its scheduler with how it ended."""
    return evidence.waited < evidence.grace or evidence.answer.owed


_ENDED = frozenset({FileState.FINISHED, FileState.FAILED, FileState.SKIPPED})


def _judge_end(evidence: Evidence) -> Judgement | None:
    """The wrapper, or an author's script, said how it ended."""
    files = evidence.files
    if evidence.timed_out is not None and not _well(files):
        return Judgement(JobEvent.FAILED, evidence.timed_out, files.rc)
    if files.state is FileState.SKIPPED:
        return Judgement(JobEvent.SKIPPED, Reason("SKIPPED"), files.rc)
    if files.rc is None:
        return _judge_torn(evidence)
    if may_be_asked_to_stop(files):
        return _judge_asked_to_stop(evidence)
    if files.rc == 0:
        return Judgement(JobEvent.SUCCEEDED, Reason("EXIT", {"rc": 0}), 0)
    return Judgement(JobEvent.FAILED, rc_reason(files.rc), files.rc)


def _judge_torn(evidence: Evidence) -> Judgement | None:
    """An author's script wrote a word but no rc; the rc may still be on its way."""
    if evidence.waited < evidence.grace:
        return None
    said = evidence.files.state.name
    message = f"its script wrote {said} and no return code to job.rc"
    return Judgement(JobEvent.FAILED, Reason("CORRUPT", {"message": message}))


def may_be_asked_to_stop(files: FileNews) -> bool:
    """Whether its scheduler may have sent it a signal.

    Slurm sends one to each process of a job: the command may end of it before the wrapper hears it.
    """
    return bool(files.signal) or files.rc == _TERMINATED


_TERMINATED = 128 + 15


def _judge_asked_to_stop(evidence: Evidence) -> Judgement | None:
    """A signal asked it to stop, and it was not us: the scheduler may know why."""
    files = evidence.files
    if evidence.answer.presence is Presence.GONE and evidence.answer.reason is not None:
        return Judgement(JobEvent.FAILED, evidence.answer.reason, files.rc)
    if _may_hear_more(evidence):
        return None
    if files.rc is not None and not files.signal:
        return Judgement(JobEvent.FAILED, rc_reason(files.rc), files.rc)
    number = _SIGNALS.get(files.signal, 0)
    detail = {
        "signal": number,
        "name": f"SIG{files.signal}",
        "message": f"asked to stop by SIG{files.signal}",
    }
    return Judgement(JobEvent.FAILED, Reason("SIGNAL", detail), files.rc)


def _judge_killing_end(evidence: Evidence) -> Judgement | None:
    """It was asked to stop and ended; by our wrapper's word it may have been faster than the signal."""
    files = evidence.files
    if _well(files) and files.ours:
        return Judgement(JobEvent.SUCCEEDED, Reason("EXIT", {"rc": 0}), 0)
    if evidence.confirms and evidence.answer.presence is not Presence.GONE:
        return None
    return Judgement(JobEvent.KILLED, _killed(evidence), files.rc)


def _judge_gone(evidence: Evidence) -> Judgement:
    """The scheduler does not have it any more, and its files never said an end."""
    files, known = evidence.files, evidence.answer.reason
    if evidence.timed_out is not None:
        return Judgement(JobEvent.FAILED, evidence.timed_out)
    if files.state is FileState.UNREADABLE:
        return Judgement(JobEvent.FAILED, Reason("CORRUPT", {"message": files.what}))
    if known is not None:
        full = known.code == WaitReason.DISK_FULL  # no fault of the job, and it never began
        return Judgement(JobEvent.RETURNED if full else JobEvent.FAILED, known)
    if files.state is FileState.ABSENT and evidence.claims:
        return _judge_never_began(evidence)
    said = evidence.answer.said or "the scheduler does not have it any more"
    told = f"{said}, and its files don't say how it ended"
    return Judgement(JobEvent.FAILED, Reason("LOST", {"message": told}))


def _judge_never_began(evidence: Evidence) -> Judgement:
    """The claim is not there, so nothing ran: the same start is handed over again, some times."""
    if evidence.resubmits < evidence.max_resubmits:
        return Judgement(JobEvent.RETURNED, Reason("LOST", {"message": "it never began"}))
    told = (
        f"its wrapper never began, in {evidence.resubmits + 1} hand-overs: was it taken out of the queue, or "
        "does its host not see the metadir?"
    )
    return Judgement(JobEvent.FAILED, Reason("LOST", {"message": told}))


def _well(files: FileNews) -> bool:
    return files.state is FileState.FINISHED and files.rc in (0, None) and not files.signal


def _killed(evidence: Evidence) -> Reason:
    return Reason("KILLED", {"by": evidence.stopped_by or "request"})


def rc_reason(rc: int) -> Reason:
    """The reason of an rc; above 128 a shell tells a signal so (POSIX XCU 2.8.2)."""
    signal = rc - 128
    if signal in _NAMES:
        return Reason("SIGNAL", {"signal": signal, "name": f"SIG{_NAMES[signal]}"})
    message = _RCS.get(rc)
    return Reason("EXIT", {"rc": rc, "message": message} if message else {"rc": rc})


_RCS: Mapping[int, str] = {
    126: "the command can't be executed, or its working directory is missing",
    127: "command not found",
}

#: The numbers that signal(7) gives on x86 and ARM, for those that end a program.
_NAMES: Mapping[int, str] = {
    1: "HUP",
    2: "INT",
    3: "QUIT",
    4: "ILL",
    6: "ABRT",
    7: "BUS",
    8: "FPE",
    9: "KILL",
    10: "USR1",
    11: "SEGV",
    12: "USR2",
    13: "PIPE",
    14: "ALRM",
    15: "TERM",
    24: "XCPU",
    25: "XFSZ",
    31: "SYS",
}
_SIGNALS: Mapping[str, int] = {name: number for number, name in _NAMES.items()}
