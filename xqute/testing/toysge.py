"""The face of Grid Engine on a toy cluster: `qsub`, `qstat`, `qdel`, `qacct` and `qconf`.

What they print is what those of 8.1.9 print, where a scheduler looks. Standard library only, see `toycore`.
"""

from __future__ import annotations

import os
import shlex
import sys
import time

from . import toyjobs
from .toycore import Refused, Table
from .toyface import Face, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .toycore import ToyJob

#: Options of qsub that it knows, and how many words follow each.
_KNOWN = dict.fromkeys(("terse", "notify", "h", "cwd", "V"), 0) | dict.fromkeys(
    ("N", "t", "S", "r", "wd", "o", "e", "j", "l", "q", "P", "p", "v", "A", "hold_jid"), 1
)
_KNOWN["pe"] = 2
_QUEUES = ("all.q", "1-day")

#: What an exit status means to it, whatever the job meant.
_CODES = {"99": "again", "100": "error"}

_HEAD = """<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
"""

#: `failed` and `exit_status` of the states that a job ends in without having ended by itself.
_RECORDS = {"TIMEOUT": (37, "qmaster enforced h_rt, h_cpu, or h_vmem limit"), "NODE_FAIL": (19, "")}


class Sge(Face):
    """The face of Grid Engine: a deleted job is killed, and asked before only where it said `-notify`.

    Settings of the cluster, beside its own: `array` is max_aj_tasks (75000), `most` is max_u_jobs (0: none).
    Between asking and killing are `grace` seconds, as `notify` of a queue.
    """

    programs = {  # noqa: RUF012  typing is not imported here
        "qsub": "submit",
        "qstat": "queue",
        "qdel": "cancel",
        "qacct": "account",
        "qconf": "show",
    }
    unreachable = "commlib error: got select error (Connection refused)"
    refused = 'Job was rejected because job requests unknown queue "nowhere"'

    def error(self, text: str) -> str:
        """As its programs say it."""
        reached = "" if text == self.unreachable else f"error: {text}"
        sent = 'unable to send message to qmaster using port 6444 on host "toy": got send error'
        return reached or f"error: {text}\nerror: {sent}"

    def refusal(self, text: str) -> str:
        """As qsub says it."""
        return f"Unable to run job: {text}\nExiting."

    # Submitting

    def submit(self, arguments: list[str], *, lost: bool) -> str:
        """Take a script, once or as an array."""
        options, script = _parsed(arguments)
        # they are obeyed wherever they stand in a script; what the command says counts more
        inside: dict[str, list[str]] = {}
        for line in os.fsdecode(toyjobs.read(script)).splitlines():
            if line.startswith("#$ "):
                _merge(inside, _parsed(shlex.split(line[3:], comments=True))[0])
        options = {**inside, **options}
        name = options.get("N", [os.path.basename(script)])[-1]
        if name[:1].isdigit() or set(name) & set("/ @:*?\\"):
            raise Refused(f'denied: "{name}" is not a valid object name')
        if (queue := options.get("q", ["all.q"])[-1]) not in _QUEUES:
            raise Refused(f'Job was rejected because job requests unknown queue "{queue}"')
        size = _size(options.get("t", [""])[-1])
        self._check(size)
        limits = dict(item.split("=", 1) for item in ",".join(options.get("l", [])).split(",") if item)
        known = {
            "name": name,
            "held": "h" in options,
            "walltime": float(limits.get("h_rt", 0)),
            "output": _target(options, "o"),
            "extra": {
                "asks": "SIGUSR2" if "notify" in options else "",
                "codes": _CODES,
                "category": " ".join(f"-l {item}" for item in options.get("l", [])) or "NONE",
            },
        }
        number = toyjobs.submit(self.home, script, lost=lost, size=size, environ=_environ, **known)
        told = f"{number}.1-{size}:1" if size else str(number)
        return f"{told}\n" if "terse" in options else f'Your job {told} ("{name}") has been submitted\n'

    def _check(self, size: int) -> None:
        with Table(self.home) as table:
            settings = table.settings
            live = {_array(job) for job in table.jobs.values() if job.live}
        if size > settings.get("array", 75000):
            raise Refused(f"job rejected: you tried to submit a job with more than {settings['array']} tasks")
        if settings.get("most") and len(live) >= settings["most"]:
            raise Refused(
                f"job rejected: only {settings['most']} jobs are allowed per user "
                f"(current job count: {len(live)})"
            )

    # Asking

    def queue(self, arguments: list[str]) -> str:
        """What waits and runs, as XML; an array's elements that wait alike are one entry."""
        if "-xml" not in arguments:
            raise Usage("-xml [-u USER]")
        there = toyjobs.wake(self.home).jobs.values()
        jobs = [job for job in there if job.live]
        ended = [job for job in there if not job.live and arguments[-2:] == ["-s", "psrz"]]
        running = [_entry(job, "running", _task(job)) for job in jobs if job.state != "PENDING"]
        alike: dict[tuple[int, str], list[ToyJob]] = {}
        for job in jobs:
            if job.state == "PENDING":
                alike.setdefault((_array(job), _state(job)), []).append(job)
        waiting = [_entry(several[0], "pending", _tasks(several)) for several in alike.values()]
        zombies = [_entry(job, "zombie", _task(job)) for job in ended]
        parts = (("queue_info", running), ("job_info", [*waiting, *zombies]))
        lists = "".join(f"  <{name}>\n{''.join(entries)}  </{name}>\n" for name, entries in parts)
        return f"{_HEAD}{lists}</job_info>\n"

    def account(self, arguments: list[str]) -> str:
        """The records of a job, or of one element; there is none of what never ran."""
        given = dict(zip(arguments[::2], arguments[1::2], strict=False))
        number, task = given.get("-j", ""), given.get("-t", "")
        with Table(self.home) as table:
            jobs = [job for job in table.jobs.values() if str(_array(job)) == number and not job.live]
        jobs = [job for job in jobs if job.started and task in {"", _task(job)}]
        if not jobs:
            tasks = f"Job-array tasks {number}.{task}-{task}:1"
            raise Refused(f"{tasks if task else f'job id {number}'} not found")
        return "".join(map(_record, jobs))

    def show(self, arguments: list[str]) -> str:
        """`qconf -sconf` and `qconf -sq`, as far as somebody asks."""
        with Table(self.home) as table:
            settings = table.settings
        if arguments[:1] == ["-sq"]:
            return f"qname                 all.q\nnotify                00:00:{settings['grace']:02.0f}\n"
        if arguments != ["-sconf"]:
            raise Usage("-sconf | -sq QUEUE")
        return f"#global:\nmax_aj_tasks                 {settings.get('array', 75000)}\nmax_u_jobs   0\n"

    # Killing

    def cancel(self, arguments: list[str]) -> str:
        """Delete jobs, and say what became of each; that one is not known is an error, of that one."""
        with Table(self.home) as table:
            known = {_uid(job): job for job in table.jobs.values() if job.live}
        strange: list[str] = []
        chosen: list[ToyJob] = []
        for word in arguments:
            number, _, tasks = word.partition(".")
            uids = [uid for uid, job in known.items() if str(_array(job)) == number]
            wanted = [f"{number}.{task}" for task in _numbers(tasks)] if tasks else uids
            if not uids:
                strange.append(f'denied: job "{number}" does not exist')
            elif len(wanted) > 1 and not known.keys() & set(wanted):
                strange.append(f'job "{number}" task id range "{tasks}:1" comprises no tasks')
            else:
                strange += [_strange(uid, known.get(uid)) for uid in wanted if _strange(uid, known.get(uid))]
                chosen += [known[uid] for uid in wanted if uid in known and not known[uid].wanted]
        told = [f"toy has {_done(job)}" for job in chosen]
        toyjobs.cancel(self.home, [job.id for job in chosen])
        text = "".join(f"{line}\n" for line in [*strange, *told])
        if strange:
            sys.stdout.write(text)
            raise SystemExit(1)
        return text


def _strange(uid: str, job: ToyJob | None) -> str:
    """What qdel says of a job that it can't delete; empty when it can."""
    number, _, task = uid.partition(".")
    if job is None:
        return f'job "{number}" task "{task}" does not exist'
    return f"job {uid} is already in deletion" if job.wanted else ""


def _done(job: ToyJob) -> str:
    """What qdel does with it."""
    waits = job.state == "PENDING"
    return f"deleted job {_uid(job)}" if waits else f"registered the job {_uid(job)} for deletion"


def _parsed(words: list[str]) -> tuple[dict[str, list[str]], str]:
    """The values of each option, and the script.

    Raises:
        Refused: An option is not known.
    """
    options: dict[str, list[str]] = {}
    left = list(words)
    while left and left[0].startswith("-"):
        name = left.pop(0)[1:]
        if name not in _KNOWN:
            raise Refused(f"Unknown option -{name}")
        options.setdefault(name, []).append(" ".join(left.pop(0) for _ in range(_KNOWN[name])))
    return options, left[0] if left else ""


def _merge(into: dict[str, list[str]], more: dict[str, list[str]]) -> None:
    for name, values in more.items():
        into.setdefault(name, []).extend(values)


def _size(text: str) -> int:
    """The elements of `-t 1-n`."""
    first, _, last = text.partition("-")
    if text and (first != "1" or not last.isdecimal()):
        raise Refused(f"Numerical value invalid! -t {text}")
    return int(last) if text else 0


def _target(options: dict[str, list[str]], name: str) -> str:
    """The file of its output; in its home there would be one of its own."""
    path = options.get(name, [""])[-1]
    return path if path.startswith("/") else ""


def _environ(job: ToyJob) -> dict[str, str]:
    task = _task(job) or "undefined"
    return {"JOB_ID": str(_array(job)), "JOB_NAME": job.name, "SGE_TASK_ID": task, "RESTARTED": "0"}


def _array(job: ToyJob) -> int:
    return int(job.extra.get("array", job.id))


def _task(job: ToyJob) -> str:
    return str(job.extra.get("element", ""))


def _uid(job: ToyJob) -> str:
    return f"{_array(job)}.{_task(job)}" if _task(job) else str(job.id)


def _tasks(jobs: list[ToyJob]) -> str:
    """Elements as qstat writes them: as a range where they are one."""
    tasks = [int(_task(job)) for job in jobs if _task(job)]
    if len(tasks) > 1 and tasks == list(range(tasks[0], tasks[-1] + 1)):
        return f"{tasks[0]}-{tasks[-1]}:1"
    return ",".join(map(str, tasks))


def _state(job: ToyJob) -> str:
    if not job.live:
        return "z"
    if job.state != "PENDING":
        return "dr" if job.state == "ENDING" else "r"
    if job.extra.get("error"):
        return "Eqw"
    return "hqw" if job.held else "qw"


def _entry(job: ToyJob, kind: str, tasks: str) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(job.started or job.submitted))
    moment = "JAT_start_time" if kind == "running" else "JB_submission_time"
    facts = [
        *(
            ("JB_job_number", _array(job)),
            ("JAT_prio", "0.50000"),
            ("JB_name", job.name),
            ("JB_owner", "toy"),
        ),
        *(("state", _state(job)), (moment, stamp), ("queue_name", "all.q@toy" if kind == "running" else "")),
        *(("slots", 1), *([("tasks", tasks)] if tasks else [])),
    ]
    lines = "".join(f"      <{name}>{value}</{name}>\n" for name, value in facts)
    return f'    <job_list state="{kind}">\n{lines}    </job_list>\n'


def _record(job: ToyJob) -> str:
    """What the accounting says of a job that ran."""
    code = job.code or 0
    status = 128 - code if code < 0 else code
    failed, words = _RECORDS.get(
        job.state, (100 if code < 0 else 0, "assumedly after job" if code < 0 else "")
    )
    facts = {
        "jobname": job.name,
        "jobnumber": _array(job),
        "taskid": _task(job) or "undefined",
        "failed": f"{failed:<3} : {words}" if failed else "0",
        "exit_status": f"{status:<20}",
        "ru_wallclock": f"{job.ended - job.started:.0f}s",
        "maxvmem": "3.395MB",
        "category": job.extra.get("category", "NONE"),
    }
    return "=" * 62 + "\n" + "".join(f"{name:<12} {value}\n" for name, value in facts.items())


def _numbers(text: str) -> Iterator[int]:
    """3, 3-7 or 3-7:1 as numbers."""
    first, _, rest = text.partition("-")
    yield from range(int(first), int(rest.partition(":")[0] or first) + 1)
