"""Slurm: the arguments of its commands, and what their texts say. Written for 20.11 and newer."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

from ..errors import BackendAnswerError, OptionError
from ..job import Job
from ..settings import ARRAY_LIMIT, SACCT_SECONDS
from ..states import Answer, Presence, Reason
from .adapter import Limits, Listed
from .batch import BatchScheduler
from .batching import clock, expand, number_of, ranges, spread
from .portable import SLURM
from .spelling import SBATCH

log = logging.getLogger("xqute.slurm")

#: A line for each job, and for the head of the table: that it is there proves that the answer is whole.
_FORMAT: Final = "xq|%i|%F|%T|%r|%N|%l|%j"
_HEAD: Final = "xq|JOBID|"
_FIELDS: Final = _FORMAT.count("|")

#: The same of the accounting.
_ACCOUNT: Final = "JobID,State,NodeList,Timelimit,ExitCode"

#: More ids than this are asked about by their user: an argument has a longest length.
_NAMED: Final = 200

#: States of a job that waits, and of one that has not ended; all others are ends.
_WAITS: Final = frozenset(
    ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
)
_THERE: Final = frozenset(
    ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "SIGNALING", "RESIZING")
)
_ENDS: Final[Mapping[str, str]] = {
    "COMPLETED": "",
    "FAILED": "",
    "CANCELLED": "KILLED",
    "REVOKED": "KILLED",
    "TIMEOUT": "TIMEOUT",
    "DEADLINE": "TIMEOUT",
    "OUT_OF_MEMORY": "OOM",
    "NODE_FAIL": "NODE_FAIL",
    "BOOT_FAIL": "NODE_FAIL",
    "PREEMPTED": "PREEMPTED",
}

#: Options that xqute gives itself.
_OWN: Final = frozenset(("array", "a", "parsable", "wrap", "wait", "W", "test-only", "job-name", "J"))

_SAFE: Final = re.compile(r"[A-Za-z0-9_%+:,./=@\[\]*()&|-]*").fullmatch
_UID: Final = re.compile(r"^(\d+)(?:;\S+)?$", re.MULTILINE)
_ELEMENT: Final = re.compile(r"(\d+)_(\d+)").fullmatch


class SlurmScheduler(BatchScheduler):
    """Runs jobs at Slurm. Options that begin with `slurm_` or `sbatch_` are those of `sbatch`."""

    name = "slurm"
    programs: ClassVar[Mapping[str, str]] = {
        name: name for name in ("sbatch", "squeue", "scancel", "scontrol", "sacct")
    }
    portable = SLURM
    natives = SBATCH
    options: ClassVar[Mapping[str, str] | None] = {
        **(BatchScheduler.options or {}),
        **{program: f"the path of {program}" for program in programs},
    }
    option_prefixes = ("slurm_", "sbatch_")
    directive = "#SBATCH"
    index_variable = "SLURM_ARRAY_TASK_ID"
    account_seconds = SACCT_SECONDS
    kill_seconds = 30.0  # until its configuration says another KillWait
    foreign_env = ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SCONTROL_")
    kept_env = frozenset(("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"))
    full = re.compile(
        r"(Assoc|QOS)\w*(MaxSubmit|GrpSubmit)\w*|submit limit|Slurm temporarily unable to accept job"
    )
    refused = re.compile(
        r"sbatch: error: Batch job submission failed|sbatch: (error: )?([Ii]nvalid|unrecognized|fatal)"
        r"|sbatch: error: \S* ?script|sbatch: error: This does not look like a batch script"
    )
    passing = re.compile(
        r"[Uu]nable to contact|[Tt]imed out|[Tt]emporarily|[Cc]onnection|Communication|Zero Bytes"
        r"|standby|not responding|authentication|[Cc]redential|munge|Transport|Resource temporarily"
        r"|process configuration|configuration source|cannot stat file|getaddrinfo|control machine"
        r"|Unexpected message|slurm_receive",
    )
    unknown = re.compile(
        r"Invalid job id specified|already completing or completed|accounting storage is disabled"
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._given = [
            (name.replace("_", "-"), value) for name, value in expand(self.config, self.option_prefixes)
        ]
        self._accounts = False
        names = {name for name, _ in self._given}
        if own := sorted(names & _OWN - {"job-name", "J"}):
            raise OptionError(f"slurm_{own[0].replace('-', '_')}: xqute gives this option of sbatch itself")
        if "requeue" in names:
            log.warning("slurm_requeue: a job that Slurm starts again by itself leaves at once, and is lost")

    # Submitting

    def own_directives(self, job: Job) -> Sequence[str]:
        names = {name for name, _ in self._given}
        lines = [] if names & {"requeue", "no-requeue"} else ["--no-requeue"]
        lines += [] if names & {"output", "o"} else ["--output=/dev/null"]
        bad, avoided = self.bad_nodes(job), []
        for name, value in self._given:
            if name in {"exclude", "x"}:
                avoided.append(value or "")
            elif name not in {"job-name", "J"}:
                lines.append(_line(name, value))
        if avoided or bad:
            lines.append(_line("exclude", ",".join([*avoided, *bad])))
        return lines

    def job_name(self, token: str) -> str:
        named = next((value for name, value in self._given if name in {"job-name", "J"}), None)
        return super().job_name(f"{named}-{token}" if named and not self.jobprefix else token)

    def _words(self, option: str) -> list[str]:
        """A command, at the cluster that is meant."""
        cluster = next((value for name, value in self._given if name in {"clusters", "M"}), None)
        return [self.program(option), *([f"--clusters={cluster}"] if cluster else [])]

    def submit_command(self, script: str, name: str) -> Sequence[str]:
        return [self.program("sbatch"), "--parsable", f"--job-name={name}", script]

    def read_uid(self, output: str) -> str | None:
        found = _UID.findall(output)
        return found[-1] if found else None

    def array_command(self, script: str, name: str, size: int) -> Sequence[str]:
        return [self.program("sbatch"), "--parsable", f"--job-name={name}", f"--array=1-{size}", script]

    def read_array_uids(self, output: str, size: int) -> Sequence[str] | None:
        number = self.read_uid(output)
        return None if number is None else [f"{number}_{index}" for index in range(1, size + 1)]

    def limits_command(self) -> Sequence[str]:
        return [*self._words("scontrol"), "show", "config"]

    def read_limits(self, output: str) -> Limits:
        told = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", output, re.MULTILINE))
        self._accounts = not told.get("AccountingStorageType", "none").endswith("none")
        numbers = {name: int(value) for name, value in told.items() if value.isdecimal()}
        largest = numbers.get("MaxArraySize", ARRAY_LIMIT + 1)
        return Limits(max(largest - 1, 1), numbers.get("KillWait", 0), numbers.get("MinJobAge", 0))

    # Asking

    def poll_command(self, uids: Sequence[str]) -> Sequence[str]:
        numbers = list(dict.fromkeys(map(number_of, uids)))
        whose = f"--jobs={','.join(numbers)}" if 0 < len(numbers) <= _NAMED else f"--user={os.getuid()}"
        return [*self._words("squeue"), "--array", "--all", "--states=all", whose, f"--format={_FORMAT}"]

    def read_poll(self, output: str) -> Iterable[Listed]:
        lines = output.splitlines()
        if not any(line.startswith(_HEAD) for line in lines):
            raise BackendAnswerError(f"no head of a table: {output[:200]!r}", scheduler=self.name)
        for line in lines:
            fields = line.split("|", _FIELDS)
            if fields[0] == "xq" and len(fields) == _FIELDS + 1 and fields[1][:1].isdecimal():
                _, uid, _, state, why, nodes, limit, name = fields
                element = _ELEMENT(uid)
                index = int(element[2]) if element else 0
                yield Listed(uid, self._answer(uid, state, why, nodes, limit), name, index)

    def array_of(self, uid: str) -> str:
        return number_of(uid) if _ELEMENT(uid) else ""

    def account_command(self, uids: Sequence[str]) -> Sequence[str] | None:
        if not self._accounts:
            return None
        # without a time it shows nothing that ended before midnight
        numbers = dict.fromkeys(map(number_of, uids[:_NAMED]))
        which = [f"--jobs={','.join(numbers)}", "--starttime=now-30days"]
        how = ["--noheader", "--parsable2", "--allocations", f"--format={_ACCOUNT}"]
        return [*self._words("sacct"), *how, *which]

    def read_account(self, output: str) -> Iterable[Listed]:
        for line in output.splitlines():
            uid, *fields = line.split("|")
            if len(fields) == _ACCOUNT.count(",") and uid[:1].isdecimal():
                state, nodes, limit, status = fields
                word, _, by = state.partition(" ")
                number, _, elements = uid.partition("_")  # those that never began are one line: 7_[1-3,9%2]
                several = [f"{number}_{index}" for index in spread(elements.strip("[]").partition("%")[0])]
                for one in several or [uid]:
                    yield Listed(one, self._answer(one, word, by or f"exit code {status}", nodes, limit))

    def _answer(self, uid: str, state: str, why: str, nodes: str, limit: str) -> Answer:
        told = state if why in {"", "None"} else f"{state} ({why})"
        if state in _WAITS:
            detail = {"scheduler": self.name, "uid": uid, "message": told}
            return Answer(Presence.PENDING, Reason("PENDING", detail))
        if state in _THERE:
            return Answer(Presence.RUNNING)
        code = _ENDS.get(state)
        if code is None:
            return Answer(Presence.UNKNOWN)
        if not code:
            return Answer(Presence.GONE, said=f"Slurm says {told}")
        details: Mapping[str, Any] = {
            "KILLED": {"by": f"scancel {why}" if why.startswith("by ") else "scancel"},
            "TIMEOUT": {"timeout": f"{clock(limit):g}", "message": state},
            "NODE_FAIL": {"node": nodes},
        }
        return Answer(Presence.GONE, Reason(code, details.get(code, {})))

    # Killing

    def kill_command(self, uids: Sequence[str]) -> Sequence[str]:
        arrays: dict[str, list[int]] = {}
        words = []
        for uid in uids:
            element = _ELEMENT(uid)
            if element:
                arrays.setdefault(element[1], []).append(int(element[2]))
            else:
                words.append(uid)
        words += [f"{number}_[{ranges(indices)}]" for number, indices in arrays.items()]
        return [*self._words("scancel"), *words]


def _line(name: str, value: str | None) -> str:
    """An option of sbatch, as its lines in a script are read."""
    dashed = f"--{name}" if len(name) > 1 else f"-{name}"
    if value is None:
        return dashed
    if not _SAFE(value):
        value = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{dashed}={value}" if len(name) > 1 else f"{dashed} {value}"
