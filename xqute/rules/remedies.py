"""What a user can do about a job, by the reason it waits or ended for; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..printable import listed
from ..states import EndReason, JobStatus, Reason, WaitReason

#: For each reason, one sentence. The names in braces are `id`, and keys of the reason's detail.
REMEDIES: Final[Mapping[str, str]] = {
    WaitReason.ACCEPTED: "it starts when the program that pushed it awaits it: "
    "`await xq.run_until_complete()`, `async with xq` or `await job`",
    WaitReason.FORKS: "wait, or let more run at a time with scheduler_forks=; "
    "jobs of higher priority= go first",
    WaitReason.STOPPED: "start the same script again with resume=True, or run `xqute resume`",
    WaitReason.PARKED: "push it again with resume=True; `xqute resume`, or resume='all', runs all that is "
    "left without a push",
    WaitReason.NEEDS: "wait for the jobs it needs; `xqute why` tells about each of them",
    WaitReason.BLOCKED: "`xqute why {cause}` says what is wrong there; mend it and run that job again: "
    "`await job.retry()` while its program runs, else `xqute resume`; this one follows",
    WaitReason.READY: "wait; when it does not start soon, the program that runs it knows why: "
    "print `job.reason` there",
    WaitReason.LIMIT: "wait, or raise the limit with `await xq.set_limit({task!r}, …)`, also while it runs; "
    "jobs of a manager that died count until `xqute resume` sees what became of them",
    WaitReason.RESOURCES: "wait, or ask for less; `xqute ls --status live` shows who has it; resources= of "
    "Xqute says how much there is",
    WaitReason.RETRY_DELAY: "wait for its next attempt; `xqute logs {id}` shows what went wrong",
    WaitReason.SCHEDULER_DOWN: "nothing is lost, it goes on by itself; "
    "try the scheduler's own command to see what is wrong",
    WaitReason.SCHEDULER_FULL: "wait; with scheduler_forks= fewer are handed over at a time, and its "
    "administrator knows the limit",
    WaitReason.UNREACHABLE: "nothing is lost, its files are followed all the same; "
    "try the scheduler's own command to see what is wrong",
    WaitReason.DISK_FULL: "make room where the metadir is: it goes on by itself",
    WaitReason.PENDING: "wait for the scheduler to start it; its own tools tell more about {uid}",
    WaitReason.RUNNING: "wait; `xqute logs {id} --follow` shows what it writes",
    WaitReason.KILLING: "wait; what does not end politely is killed after its grace",
    EndReason.EXIT: "`xqute logs {id} --stderr` shows what it said; mend it and run it again",
    EndReason.SIGNAL: "something ended it from outside, or it crashed: `xqute logs {id} --stderr`, "
    "and for signal 9 the kernel's log (`dmesg`): memory may have run out",
    EndReason.OOM: "give it more memory, or run fewer at a time with scheduler_forks=",
    EndReason.TIMEOUT: "give it more time with timeout=, or find out with `xqute logs {id}` where it hung",
    EndReason.PENDING_TIMEOUT: "the reason says what it waited for: ask for what is less rare (cpus=, mem=, "
    "a partition or queue), or let it wait longer with scheduler_pending_timeout=",
    EndReason.NODE_FAIL: "its host went down: run it again",
    EndReason.PREEMPTED: "the scheduler needed its place: run it again",
    EndReason.LOST: "it may have been killed together with its script, as some clusters do for its memory "
    "(give it more with mem=), or its host went down: see `xqute logs {id}`, and run it again",
    EndReason.SUBMIT_REFUSED: "the scheduler says why: change the options it complains about, "
    "and push it again",
    EndReason.WRAP_FAILED: "the job's definition raised before anything ran: mend it, and push it again",
    EndReason.KILLED: "somebody asked for it; `await job.retry()` or `xqute resume` runs it again",
    EndReason.REJECTED: "it ended with 0, and a plugin did not accept what it made: the reason says why",
    EndReason.TOO_LARGE: "let it ask for less (cpus=, mem=, …), or give resources= of Xqute more, and push "
    "it again",
    EndReason.REQUIRE_REFUSED: "it asked for others that can't be run, and the reason says why: "
    "mend what it asks for, and run it again",
    EndReason.SKIPPED: "nothing: it had nothing to do",
    EndReason.CORRUPT: "something else writes its job.status: look into its directory (`xqute show {id}`)",
}

#: Return codes that shells give a meaning of their own.
EXITS: Final[Mapping[int, str]] = {
    126: "check that its directory (cwd=) exists, the program's permissions (`chmod +x`) and its first line",
    127: "the program was not found: check its name, and PATH (env=)",
}


class _Detail(dict[str, Any]):
    """Lets a sentence be told when a fact of it is missing."""

    def __missing__(self, key: str) -> str:
        return "it"


def remedy(status: JobStatus, reason: Reason, id: int, *, removed: bool = False) -> str:
    """What to do about job `id`, in one sentence; `removed`: its directory was, as keep= says.

    >>> remedy(JobStatus.FAILED, Reason("EXIT", {"rc": 126}), 3)
    "the program can't be executed: check its permissions (`chmod +x`) and its first line"
    """
    if removed and status is JobStatus.FINISHED:
        return "nothing: what it printed was removed with its directory, as keep= of its run says"
    told = _told(status, reason, id)
    if removed and f"xqute logs {id}" in told:
        return (
            "what it said was removed with its directory, as keep= of its run says: run it again with "
            "keep='failed' to see it"
        )
    return told


def _gone(reason: Reason) -> list[str]:
    """The runs whose jobs hold it, and whose manager is gone."""
    return [holder["run"] for holder in reason.detail.get("holders", ()) if holder["gone"]]


def _of_kills(status: JobStatus, reason: Reason) -> str:
    """What to do about a kill that is no plain one; empty: it is, or there was none."""
    if reason.code == EndReason.KILLED and status is JobStatus.FAILED:
        return "somebody ended it at its scheduler: `await job.retry()` or `xqute resume` runs it again"
    if reason.code == EndReason.KILLED and reason.detail.get("by") != "request":
        return "it ended with its session: start its script again with resume=True, or run `xqute resume`"
    if reason.code == WaitReason.KILLING and reason.detail.get("again"):
        return (
            "it was asked for and could not be done, for what the reason says: it may still run, and xqute "
            "tries again by itself; try the scheduler's own command to see what is wrong"
        )
    return ""


def _told(status: JobStatus, reason: Reason, id: int) -> str:
    if status is JobStatus.FINISHED:
        return f"nothing: `xqute logs {id}` shows what it printed, `xqute show {id}` what a call returned"
    if told := _of_kills(status, reason):
        return told
    if reason.code == WaitReason.LIMIT and (gone := _gone(reason)):
        return (
            f"{listed([f'`xqute resume {run}`' for run in gone])} sees what became of its jobs and frees "
            f"their places; or raise the limit with `await xq.set_limit({reason.detail.get('task')!r}, …)`"
        )
    if (
        reason.code == EndReason.EXIT
        and reason.detail.get("rc") in EXITS
        and "explained" not in reason.detail
    ):
        return EXITS[reason.detail["rc"]]
    sentence = REMEDIES.get(reason.code, "`xqute show {id}` tells what is known")
    return sentence.format_map(_Detail({**reason.detail, "id": id}))
