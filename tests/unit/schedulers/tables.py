"""A batch scheduler of tables, and a runner that acts what its commands answer."""

import asyncio
import re
import time
from collections import deque
from typing import ClassVar

from xqute import Answer, BackendUnavailable, Presence, Reason
from xqute.runner import Ran, Runner
from xqute.schedulers.adapter import Limits, Listed
from xqute.schedulers.batch import BatchScheduler

DOWN = BackendUnavailable("it hangs")


class Tables(BatchScheduler):
    """As much as an author writes."""

    name = "tables"
    programs: ClassVar = dict.fromkeys(("sub", "ask", "del", "conf"), "true")
    options: ClassVar = {**BatchScheduler.options, **dict.fromkeys(programs, "a path")}
    option_prefixes = ("tab_",)
    directive = "#TAB"
    index_variable = "TAB_ID"
    foreign_env = ("TAB_",)
    kept_env = frozenset({"TAB_HOME"})
    refused = re.compile("never")
    passing = re.compile("busy")
    full = re.compile("too many")
    unknown = re.compile("no such job")

    def submit_command(self, script, name):
        return ["sub", name, script]

    def read_uid(self, output):
        return output.strip() if output.strip().isdecimal() else None

    def array_command(self, script, name, size):
        return ["sub", name, script, str(size)]

    def read_array_uids(self, output, size):
        number = self.read_uid(output)
        return number and [f"{number}.{n}" for n in range(1, size + 1)]

    def kill_command(self, uids):
        return ["del", *uids]

    def poll_command(self, uids):
        return ["ask", *uids]

    def read_poll(self, output):
        for line in output.splitlines():
            uid, state, name, *element = line.split()
            reason = Reason("NODE_FAIL", {"node": "n1"}) if state == "DOWN" else None
            presence = Presence.GONE if state == "DOWN" else Presence[state]
            yield Listed(uid, Answer(presence, reason), name, int(*element or "0"))

    def limits_command(self):
        return ["conf"]

    def read_limits(self, output):
        return Limits(int(output), 30.0)

    def own_directives(self, job):
        return [f"-l {job.call.options.title or 'same'}", *(f"-x {node}" for node in self.bad_nodes(job))]


class Acting(Runner):
    """Acts what is written for it, in order."""

    def __init__(self):
        super().__init__()
        self.script = deque()
        self.ran = []
        self.env = {}

    def says(self, *answers):
        """Each answer is what a command prints, or (code, stderr), or an exception."""
        self.script.extend(answers)

    async def run(self, argv, *, seconds, env=None):
        self.ran.append(list(argv))
        self.env = env
        self.commands[argv[0]] += 1
        await asyncio.sleep(0)
        answer = self.script.popleft() if self.script else ""
        if isinstance(answer, Exception):
            raise answer
        code, error = answer if isinstance(answer, tuple) else (0, "")
        return Ran(tuple(argv), code, "" if code else answer, error)

    @property
    def programs(self):
        return [argv[0] for argv in self.ran]


async def jobs_of(bench, count, **options):
    return [await bench.job(["true"], **options) for _ in range(count)]


def seen(bench, jobs, uids):
    """They have these numbers, and were in the queue just now."""
    for job, uid in zip(jobs, uids, strict=True):
        job.uid = uid
        bench.scheduler._sightings.note(job, time.monotonic())


def mark(job):
    return job.mark.rpartition("-")[0]
