"""Grid Engine: the arguments of its commands, and what their texts say. For 6.2 and its successors."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final
from xml.etree import ElementTree as ET

from ..amounts import size
from ..errors import BackendAnswerError, BackendUnavailable, OptionError
from ..job import Job
from ..states import Answer, Presence, Reason
from .adapter import Limits, Listed
from .batch import BatchScheduler
from .batching import clock, expand, ranges, spread
from .portable import GRID_ENGINE
from .spelling import QSUB

log = logging.getLogger("xqute.sge")

#: Options of qsub that xqute gives itself, or that would change what its script is.
_OWN: Final = frozenset(("t", "terse", "sync", "now", "C", "b", "tc"))

#: Unless the user says otherwise: a POSIX shell, whatever the queue's is; never started again by the
#: scheduler; asked to stop before it is killed; from a folder that every host has; no files left around.
_DEFAULTS: Final[Mapping[str, str]] = {
    "S": "-S /bin/sh",
    "r": "-r n",
    "notify": "-notify",
    "wd": "-wd /",
    "o": "-o /dev/null",
    "e": "-e /dev/null",
}

#: Limits at which it sends USR1, which otherwise announces that a job will be suspended.
_SOFT: Final = re.compile(r"\bs_(rt|vmem|cpu|data|fsize|stack|core|rss)=")

#: How many jobs the accounting is asked about at once: it reads a whole file for each.
_ACCOUNTED: Final = 20

#: For each argument the records of one job; what is not there is none of its business.
_ACCOUNT: Final = (
    'for j; do case $j in *.*) "$0" -j "${j%.*}" -t "${j#*.}" ;; *) "$0" -j "$j" ;; esac; done 2>&1; :'
)

_LIMITS: Final = '"$0" -sconf && "$0" -sq "*"'

#: Between asking and killing, where a queue says nothing else.
_NOTIFY_SECONDS: Final = 60.0

#: "error: job id 7 not found", or "error: Job-array tasks 7.2-2:1 not found"
_NO_RECORD: Final = re.compile(r"(?m)^error: (?:job id (\d+)|Job-array tasks (\d+\.\d+)\S*) not found")
_UID: Final = re.compile(r"^(\d+)$", re.MULTILINE)
_ARRAY: Final = re.compile(r"^(\d+)\.1-(\d+):1$", re.MULTILINE)


class SgeScheduler(BatchScheduler):
    """Runs jobs at Grid Engine. Options that begin with `sge_` or `qsub_` are those of `qsub`."""

    name = "sge"
    programs: ClassVar[Mapping[str, str]] = {q: q for q in ("qsub", "qstat", "qdel", "qacct", "qconf")}
    options: ClassVar[Mapping[str, str] | None] = {
        **(BatchScheduler.options or {}),
        **{program: f"the path of {program}" for program in programs},
    }
    portable = GRID_ENGINE
    lists_deleted = True
    natives = QSUB
    option_prefixes = ("sge_", "qsub_")
    directive = "#$"
    index_variable = "SGE_TASK_ID"
    full = re.compile(r"only \d+ jobs are allowed per (user|cluster)")
    refused = re.compile(r"Unable to run job: |^(qsub: |error: ERROR! )", re.MULTILINE)
    passing = re.compile(
        r"commlib error|unable to (send|contact|connect|receive)|got (send|select|read|no|max)|[Tt]imed? ?out"
        r"|answer list|initialize environment|script file|JSV|temporarily"
    )
    unknown = re.compile(r'job "[^"]*"( task "[^"]*")? does not exist|comprises no tasks|already in deletion')
    #: 99 means once more there, and 100 that an administrator shall look.
    exit_with = "$(($1 == 99 || $1 == 100 ? 1 : $1))"
    kill_seconds = _NOTIFY_SECONDS

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._given = list(expand(self.config, self.option_prefixes))
        names = {name for name, _ in self._given}
        if own := sorted(names & _OWN):
            raise OptionError(f"sge_{own[0]}: xqute gives this option of qsub itself")
        if any(value not in {"n", "no"} for name, value in self._given if name == "r"):
            log.warning("sge_r: a job that Grid Engine starts again by itself leaves at once, and is lost")
        self._replaced = {
            name for prefix in self.option_prefixes for name in _DEFAULTS if f"{prefix}{name}" in self.config
        } | ({"wd"} if "cwd" in names else set())
        if "notify" not in self._replaced or "notify" in names:
            soft = any(name == "l" and _SOFT.search(value or "") for name, value in self._given)
            self.asked_by = ("USR1", "USR2") if soft else ("USR2",)
            self.ignored = () if soft else ("USR1",)

    # Submitting

    def own_directives(self, job: Job) -> Sequence[str]:
        lines = [line for name, line in _DEFAULTS.items() if name not in self._replaced]
        given = [(name, value) for name, value in self._given if name != "N"]
        return lines + [f"-{name}" if value is None else f"-{name} {value}" for name, value in given]

    def job_name(self, token: str) -> str:
        named = next((value for name, value in self._given if name == "N"), None)
        name = super().job_name(f"{named}-{token}" if named and not self.jobprefix else token)
        return f"j{name}" if name[:1].isdigit() else name  # it takes none that begins with a digit

    def submit_command(self, script: str, name: str) -> Sequence[str]:
        return [self.program("qsub"), "-terse", "-N", name, script]

    def read_uid(self, output: str) -> str | None:
        found = _UID.findall(output)
        return found[-1] if found else None

    def array_command(self, script: str, name: str, size: int) -> Sequence[str]:
        return [self.program("qsub"), "-terse", "-N", name, "-t", f"1-{size}", script]

    def read_array_uids(self, output: str, size: int) -> Sequence[str] | None:
        found = [number for number, last in _ARRAY.findall(output) if int(last) == size]
        return [f"{found[-1]}.{task}" for task in range(1, size + 1)] if found else None

    def limits_command(self) -> Sequence[str] | None:
        try:
            return ["/bin/sh", "-c", _LIMITS, self.program("qconf")]
        except BackendUnavailable:
            return None

    def read_limits(self, output: str) -> Limits:
        largest = re.search(r"^max_aj_tasks\s+(\d+)", output, re.MULTILINE)
        tasks = int(largest[1]) if largest else 0  # 0: as many as one likes
        waits = map(clock, re.findall(r"^notify\s+([\d:]+)", output, re.MULTILINE))
        wait = max(waits, default=_NOTIFY_SECONDS) if self.asked_by else 0.0
        return Limits(min(tasks or self.max_batch, self.max_batch), wait)

    # Asking

    def poll_command(self, uids: Sequence[str]) -> Sequence[str]:
        # a word of its own for who asks; ids can't be given where the names of the jobs are told
        return [self.program("qstat"), "-xml", "-u", "$user"]

    def ends_command(self, uids: Sequence[str]) -> Sequence[str]:
        # with "zombies": the last that ended, or were deleted, as many as `finished_jobs` of its settings
        return [*self.poll_command(uids), "-s", "psrz"]

    def read_poll(self, output: str) -> Iterable[Listed]:
        # what is said before and after (a message of the day) is no XML
        text = output[output.find("<?xml") : output.rfind("</job_info>") + len("</job_info>")]
        try:
            root = ET.fromstring(text)  # noqa: S314  the scheduler's own answer
        except ET.ParseError as exc:
            raise BackendAnswerError(f"{exc}: {output[:200]!r}", scheduler=self.name) from exc
        if not text.startswith("<?xml") or root.tag != "job_info":
            raise BackendAnswerError(f"no list of jobs: {output[:200]!r}", scheduler=self.name)
        for entry in root.iter("job_list"):
            yield from self._listed(entry)

    def _listed(self, entry: ET.Element) -> Iterator[Listed]:
        number, name = entry.findtext("JB_job_number", ""), entry.findtext("JB_name", "")
        state, tasks = entry.findtext("state", ""), entry.findtext("tasks") or ""
        for task in spread(tasks) if tasks else [0]:
            uid = f"{number}.{task}" if task else number
            yield Listed(uid, self._answer(uid, entry.get("state", ""), state), name, task)

    def _answer(self, uid: str, kind: str, state: str) -> Answer:
        if kind == "running":
            return Answer(Presence.RUNNING)
        if kind == "zombie":
            return Answer(Presence.GONE)
        if kind != "pending":
            return Answer(Presence.UNKNOWN)
        told = f"error: `qstat -j {uid.partition('.')[0]}` says why" if "E" in state else ""
        message = f"{state} ({told or ('held' if 'h' in state else 'waiting')})"
        detail = {"scheduler": self.name, "uid": uid, "message": message}
        return Answer(Presence.PENDING, Reason("PENDING", detail))

    def account_command(self, uids: Sequence[str]) -> Sequence[str] | None:
        try:
            qacct = self.program("qacct")
        except BackendUnavailable:
            return None
        arrays = _by_array(uids).items()
        words = [f"{number}.{tasks[0]}" if len(tasks) == 1 else number for number, tasks in arrays]
        return ["/bin/sh", "-c", _ACCOUNT, qacct, *words[:_ACCOUNTED]]

    def read_account(self, output: str) -> Iterable[Listed]:
        for record in re.split(r"^=+$", output, flags=re.MULTILINE):
            told = {word: rest.strip() for word, rest in re.findall(r"^(\w+) +(.*)$", record, re.MULTILINE)}
            for number, of_array in _NO_RECORD.findall(record):
                yield Listed(number or of_array, Answer(Presence.UNKNOWN))
            if not told.get("jobnumber", "").isdecimal():
                continue
            task = told.get("taskid", "")
            uid = f"{told['jobnumber']}.{task}" if task.isdecimal() else told["jobnumber"]
            code = told.get("failed", "").partition(" ")[0]
            if code.isdecimal() and code != "25":  # 25: it will be started again
                yield Listed(uid, Answer(Presence.GONE, _end(int(code), told)), told.get("jobname", ""))

    # Killing

    def kill_command(self, uids: Sequence[str]) -> Sequence[str]:
        words: list[str] = []
        for number, tasks in _by_array(uids).items():
            words += [f"{number}.{span}" for span in ranges(tasks).split(",")] if tasks else [number]
        return [self.program("qdel"), *words]


def _by_array(uids: Sequence[str]) -> Mapping[str, Sequence[int]]:
    """The tasks of each job; none of a job that is no array."""
    found: dict[str, list[int]] = {}
    for uid in uids:
        number, _, task = uid.partition(".")
        found.setdefault(number, []).extend([int(task)] if task else [])
    return found


def _end(code: int, told: Mapping[str, str]) -> Reason | None:
    """How a job ended, by the record of qacct; None: it does not say."""
    asked = dict(re.findall(r"\b([hs]_\w+)=([^\s,]+)", told.get("category", "")))
    status, wall = told.get("exit_status", "").partition(" ")[0], told.get("ru_wallclock", "0").rstrip("s")
    if code == 37:  # noqa: PLR2004  a number of Grid Engine's: a hard limit was enforced
        if 0 < _bytes(asked.get("h_vmem", "")) <= _bytes(told.get("maxvmem", "")):
            return Reason("OOM", {"message": f"{told['maxvmem']} of h_vmem={asked['h_vmem']}"})
        return Reason("TIMEOUT", {"timeout": asked.get("h_rt", wall), "message": told["failed"]})
    if (soft := asked.get("s_rt")) and status == "143" and clock(wall) >= clock(soft):
        return Reason("TIMEOUT", {"timeout": soft, "message": f"s_rt={soft}"})
    if (code, status) in {(100, "137"), (0, "143")}:
        return Reason("KILLED", {"by": "qdel, or a signal on its host"})
    if code not in {0, 100}:
        return Reason("LOST", {"message": f"Grid Engine: failed {told['failed']}"})
    return None


def _bytes(text: str) -> float:
    """2G, 3.504MB; 0 when it is no size."""
    with suppress(OptionError):
        return size("h_vmem", text)
    return 0.0
