"""The face of Slurm on a toy cluster: `sbatch`, `squeue`, `scancel`, `scontrol` and `sacct`.

What they print is what those of Slurm 22.05 print, where a scheduler looks. Standard library only, see
`toycore`.
"""

from __future__ import annotations

import os
import shlex

from . import toyjobs
from .toycore import Refused, Table
from .toyface import Face, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .toycore import ToyJob

#: What the states of a toy job are called; others have the same name.
_STATES = {"ENDING": "COMPLETING", "DONE": "COMPLETED"}
_REASONS = {"held": "JobHeldUser", "slots": "Resources"}

#: The head of each column of `squeue --format`.
_HEADS = {"i": "JOBID", "F": "ARRAY_JOB_ID", "K": "ARRAY_TASK_ID", "T": "STATE", "r": "REASON"} | {
    "N": "NODELIST",
    "l": "TIME_LIMIT",
    "j": "NAME",
}

#: Options of sbatch that it knows, and what those mean that have no dashes to spell.
_KNOWN = {"parsable", "job-name", "array", "hold", "time", "output", "partition", "no-requeue", "exclude"} | {
    *("cpus-per-task", "mem", "gres", "comment", "account", "qos", "requeue", "error", "export", "begin")
}
_SHORT = {
    "J": "job-name",
    "a": "array",
    "H": "hold",
    "t": "time",
    "o": "output",
    "p": "partition",
    "c": "mem",
}
_FLAGS = {"parsable", "hold", "no-requeue", "requeue"}

_POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


class Slurm(Face):
    """The face of Slurm.

    Settings of the cluster, beside its own: `array` is MaxArraySize (1001), `most` a limit of jobs in it
    (0: none); `slurm_accounts`: there is an accounting; `slurm_accounts_late`: it has no ends yet;
    `slurm_forgets`: the queue does not show what has ended.
    """

    programs = {  # noqa: RUF012  typing is not imported here
        "sbatch": "submit",
        "squeue": "queue",
        "scancel": "cancel",
        "scontrol": "show",
        "sacct": "account",
    }
    unreachable = "Unable to contact slurm controller (connect failure)"
    refused = "Invalid partition name specified"

    def error(self, text: str) -> str:
        """As its programs say it."""
        if self.program == "squeue":
            return f"slurm_load_jobs error: {text}"
        if self.program == "sbatch" and text == self.unreachable:
            return f"sbatch: error: Batch job submission failed: {text}"
        return f"{self.program}: error: {text}"

    def refusal(self, text: str) -> str:
        """As sbatch says it."""
        return f"sbatch: error: Batch job submission failed: {text}"

    # Submitting

    def submit(self, arguments: list[str], *, lost: bool) -> str:
        """Take a script, once or as an array."""
        given = dict(_options([word for word in arguments if word.startswith("-")]))
        script = next((word for word in arguments if not word.startswith("-")), "")
        options = {**dict(_options(_directives(toyjobs.read(script)))), **given}
        if strange := [name for name in options if name not in _KNOWN]:
            raise Refused(f"sbatch: unrecognized option '--{strange[0]}'")
        if options.get("partition", "main") not in {"main", "alt", "cpu"}:
            raise Refused(self.refused)
        size = len(_numbers(options["array"])) if "array" in options else 0
        self._check(size)
        known = {
            "name": options.get("job-name", os.path.basename(script)).replace(" ", "_"),
            "held": "hold" in options,
            "walltime": float(options.get("time", 0)) * 60,
            "output": options.get("output", ""),
            "extra": {"avoid": options.get("exclude", ""), "limit": options.get("time", "")},
        }
        number = toyjobs.submit(self.home, script, lost=lost, size=size, environ=_environ, **known)
        return f"{number}\n" if "parsable" in options else f"Submitted batch job {number}\n"

    def _check(self, size: int) -> None:
        with Table(self.home) as table:
            settings = table.settings
            live = sum(job.live for job in table.jobs.values())
        if size >= settings.get("array", 1001):
            raise Refused("Invalid job array specification")
        if settings.get("most") and live + (size or 1) > settings["most"]:
            raise Refused(_POLICY)

    # Asking

    def queue(self, arguments: list[str]) -> str:
        """What the table knows, in the columns that are asked for."""
        options = dict(_options(arguments))
        table = toyjobs.wake(self.home)
        jobs = [job for job in table.jobs.values() if job.live or not table.settings.get("slurm_forgets")]
        if "jobs" in options:
            wanted = set(options["jobs"].split(","))
            jobs = [job for job in jobs if wanted & {_uid(job), str(_array(job))}]
            if not jobs and len(wanted) == 1:
                raise Refused("Invalid job id specified")
        elif "user" not in options:
            raise Usage("--jobs=LIST or --user=NAME")
        shape = options.get("format", "%i|%T")
        lines = [_filled(shape, _HEADS), *(_filled(shape, self._columns(job)) for job in jobs)]
        return "".join(f"{line}\n" for line in lines)

    def _columns(self, job: ToyJob) -> dict[str, str]:
        waits = job.state == "PENDING"
        return {
            "i": _uid(job),
            "F": str(_array(job)),
            "K": str(job.extra.get("element") or "N/A"),
            "T": _STATES.get(job.state, job.state),
            "r": _REASONS.get(job.reason, "None") if waits else _why(job),
            "N": "" if waits else _node(job),
            "l": f"{job.extra['limit']}:00" if job.extra.get("limit") else "UNLIMITED",
            "j": job.name,
        }

    def show(self, arguments: list[str]) -> str:
        """`scontrol show config`, as far as somebody asks."""
        if arguments[-2:] != ["show", "config"]:
            raise Usage("show config")
        with Table(self.home) as table:
            settings = table.settings
        accounts = "slurmdbd" if settings.get("slurm_accounts") else "none"
        lines = {
            "AccountingStorageType": f"accounting_storage/{accounts}",
            "KillWait": f"{settings['grace']:.0f} sec",
            "MaxArraySize": settings.get("array", 1001),
            "MinJobAge": f"{0 if settings.get('slurm_forgets') else settings['keep']:.0f} sec",
        }
        told = "".join(f"{name:<23} = {value}\n" for name, value in lines.items())
        return f"Configuration data as of 2026-01-01T00:00:00\n{told}"

    def account(self, arguments: list[str]) -> str:
        """What the table knows of jobs that ended, where there is an accounting."""
        with Table(self.home) as table:
            jobs = [job for job in table.jobs.values() if not job.live]
            settings = table.settings
        if not settings.get("slurm_accounts"):
            raise Refused("Slurm accounting storage is disabled")
        late = "RUNNING" if settings.get("slurm_accounts_late") else ""
        rows = (f"{_uid(job)}|{late or _STATES.get(job.state, job.state)}|{_node(job)}" for job in jobs)
        return "".join(f"{row}|UNLIMITED|{_status(job)}\n" for row, job in zip(rows, jobs, strict=True))

    # Killing

    def cancel(self, arguments: list[str]) -> str:
        """Stop jobs, and say nothing about those that are not known; elements that wait vanish."""
        with Table(self.home) as table:
            known = {_uid(job): job for job in table.jobs.values()}
            members: dict[int, list[ToyJob]] = {}
            for job in table.jobs.values():
                members.setdefault(_array(job), []).append(job)
        wanted = [uid for word in arguments if not word.startswith("-") for uid in _uids(word)]
        found = [
            job for uid in wanted for job in ([known[uid]] if uid in known else members.get(_whole(uid), []))
        ]
        waiting = {job.id for job in found if job.state == "PENDING" and job.extra.get("array")}
        toyjobs.cancel(self.home, [job.id for job in found])
        with Table(self.home) as table:
            for jobs in members.values():
                self._vanish(
                    table, [table.jobs[job.id] for job in jobs if job.id in waiting & table.jobs.keys()], jobs
                )
        return ""

    def _vanish(self, table: Table, gone: list[ToyJob], members: list[ToyJob]) -> None:
        """A whole array that waited is one line from now on, of which no element is left."""
        gone = [job for job in gone if job.state == "CANCELLED"]
        if gone and len(gone) == len(members):
            gone[0].extra = {**gone[0].extra, "element": 0}
            del gone[0]
        for job in gone:
            table.drop(job.id)


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Name and value of each option; a value that is a word of its own is not known here."""
    for word in words:
        name, _, value = word.lstrip("-").partition("=")
        if not word.startswith("--") and len(name) > 1:
            name, value = name[0], name[1:].strip()
        name = _SHORT.get(name, name) if not word.startswith("--") else name
        yield name, "" if name in _FLAGS else value


def _directives(text: bytes) -> list[str]:
    """The options that a script has in its head."""
    words: list[str] = []
    for line in os.fsdecode(text).splitlines():
        if line.startswith("#SBATCH "):
            first, *rest = shlex.split(line.removeprefix("#SBATCH "))
            words.append(" ".join([first, *rest]) if not first.startswith("--") else first)
        elif line and not line.startswith("#"):
            break
    return words


def _environ(job: ToyJob) -> dict[str, str]:
    element = job.extra.get("element")
    more = {"SLURM_ARRAY_JOB_ID": str(_array(job)), "SLURM_ARRAY_TASK_ID": str(element)} if element else {}
    return {"SLURM_JOB_ID": str(job.id), "SLURM_JOB_NAME": job.name, **more}


def _array(job: ToyJob) -> int:
    return int(job.extra.get("array", job.id))


def _uid(job: ToyJob) -> str:
    element = job.extra.get("element")
    return f"{_array(job)}_{element}" if element else str(_array(job))


def _node(job: ToyJob) -> str:
    """Where it runs: the first of two that it does not avoid."""
    return next((name for name in ("n1", "n2") if name not in job.extra.get("avoid", "").split(",")), "n3")


def _why(job: ToyJob) -> str:
    """Why it failed, in a word of Slurm's."""
    code = job.code if job.state == "FAILED" else 0
    return "None" if not code else "NonZeroExitCode" if code > 0 else "JobLaunchFailure"


def _status(job: ToyJob) -> str:
    """What it exited with, and the signal that ended it."""
    code = job.code or 0
    return f"{max(code, 0)}:{max(-code, 0)}"


def _filled(shape: str, columns: dict[str, str]) -> str:
    first, *parts = shape.split("%")
    return first + "".join(columns.get(part[:1], "") + part[1:] for part in parts)


def _uids(word: str) -> list[str]:
    """The jobs of an argument of scancel: 5, 5_3, 5_[1-3,7].

    Raises:
        Refused: It is none.
    """
    number, _, elements = word.partition("_")
    if not number.isdecimal():
        raise Refused(f"Invalid job id {word}")
    return [f"{number}_{index}" for index in _numbers(elements.strip("[]"))] if elements else [number]


def _whole(uid: str) -> int:
    """The array of which all elements are meant; 0: it is not."""
    return int(uid) if uid.isdecimal() else 0


def _numbers(text: str) -> list[int]:
    """1-3,7 as numbers.

    Raises:
        Refused: They are none.
    """
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise Refused("Invalid job array specification")
        found += range(int(first), int(last or first) + 1)
    return found
