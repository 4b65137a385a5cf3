"""A scheduler that is reached by commands: what it is asked, how often, and what follows from the answers.

An author writes tables and pure functions: the arguments of a command, and what its text says. Here is
the rest: jobs of one shape are submitted together, all are asked about by one command, what a command
could not do is told apart from what it would never do, and a submission is found again by its name.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

from .. import metadir
from ..errors import BackendAnswerError, BackendFull, BackendUnavailable, OptionError, SubmitError
from ..job import Job
from ..options import seconds
from ..runner import Ran, Runner, program_of
from ..runners.local import LocalRunner
from ..scheduler import Outcome
from ..settings import (
    ARRAY_LIMIT,
    BATCH_GRACE_SECONDS,
    BATCH_POLL_SECONDS,
    COMMAND_RATE,
    COMMAND_SECONDS,
    KILL_CHUNK,
    POLL_FLOOR_SECONDS,
    REFILL_SECONDS,
    REFILL_SHARE,
    SINGLES_AT_ONCE,
)
from ..states import Answer, Presence
from . import batches, batching, portable
from .adapter import Adapter, Limits, Listed
from .batching import Element, Rate, number_of
from .sightings import TAKEN_OUT, Sightings, is_of, store_of, strangers
from .spelling import refuse_misspelt
from .touch import Touch

log = logging.getLogger("xqute.batch")

_GONE: Final = Answer(Presence.GONE)
_OWED: Final = _GONE._replace(owed=True)


class BatchScheduler(Adapter):
    """Runs jobs at a batch system, by its commands; a subclass needs what `Adapter` names."""

    options: ClassVar[Mapping[str, str] | None] = {
        "scheduler_rate": f"commands per time at most ({COMMAND_RATE}); None: no limit",
        "scheduler_poll_interval": f"seconds between questions about silent jobs ({BATCH_POLL_SECONDS:g})",
        "scheduler_pending_timeout": "seconds that a job may wait in the queue, then it has failed; None",
        "scheduler_command_timeout": f"seconds that a command may take ({COMMAND_SECONDS:g})",
        "scheduler_array_limit": "elements of an array at most; 1: no arrays",
    }
    max_batch = ARRAY_LIMIT
    grace_seconds = BATCH_GRACE_SECONDS
    confirms_kills = True
    refill_share = REFILL_SHARE
    refill_seconds = REFILL_SECONDS

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        config = self.config
        self.runner: Runner = LocalRunner()
        self._rate = Rate.of(config.get("scheduler_rate", COMMAND_RATE))
        every = seconds("scheduler_poll_interval", config.get("scheduler_poll_interval", BATCH_POLL_SECONDS))
        self.poll_seconds = max(every, POLL_FLOOR_SECONDS)
        given = config.get("scheduler_command_timeout", COMMAND_SECONDS)
        self.command_seconds = seconds("scheduler_command_timeout", given)
        if (most := config.get("scheduler_pending_timeout")) is not None:
            self.pending_seconds = seconds("scheduler_pending_timeout", most)
        self._limits: Limits | None = None
        self._sightings = Sightings()
        self._bad_nodes: WeakKeyDictionary[Job, set[str]] = WeakKeyDictionary()
        self._touch = Touch(self.name)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().check_options(options)
        batching.check_values(checked, cls.option_prefixes)
        if cls.natives is not None:
            refuse_misspelt(checked, cls.option_prefixes, cls.natives)
        limit = checked.get("scheduler_array_limit", 1)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise OptionError(f"scheduler_array_limit={limit!r} must be a whole number of at least 1")
        return checked

    def bad_nodes(self, job: Job) -> Sequence[str]:
        """Hosts that went down under earlier starts of a job."""
        return sorted(self._bad_nodes.get(job, ()))

    @property
    def commands(self) -> Mapping[str, int]:
        """How often each command was run."""
        return self.runner.commands

    # Commands

    async def _run(self, argv: Sequence[str]) -> Ran:
        if self._rate is not None:
            await self._rate.take()
        foreign, kept = self.foreign_env or ("\0",), self.kept_env
        env = {
            name: value for name, value in os.environ.items() if name in kept or not name.startswith(foreign)
        }
        return await self.runner.run(argv, seconds=self.command_seconds, env=env)

    async def _ask(
        self, argv: Sequence[str], read: Callable[[str], Iterable[Listed]]
    ) -> Mapping[str, Listed]:
        """What a question is answered, by uid.

        Raises:
            BackendUnavailable: It could not be asked, or the answer can't be read.
        """
        try:
            ran = await self._run(argv)
            known = ran.code == 0 or not self.unknown.search(ran.error)
            if known and ran.code != 0:
                raise self._unavailable(ran)
            found = {listed.uid: listed for listed in read(ran.output)} if known else {}
        except BackendAnswerError as exc:
            self._touch.lost(f"{program_of(argv)} answered what can't be read: {exc}")
            raise BackendUnavailable(str(exc), scheduler=self.name, argv=argv) from exc
        except BackendUnavailable as exc:
            self._touch.lost(str(exc))
            raise
        self._touch.back()
        return found

    def _unavailable(self, ran: Ran) -> BackendUnavailable:
        return BackendUnavailable(
            f"{ran.program}: {ran.said}", scheduler=self.name, argv=ran.argv, output=ran.output
        )

    async def limits(self) -> Limits:
        """What the cluster says of itself; asked once."""
        if self._limits is None:
            argv, found = self.limits_command(), Limits()
            if argv is not None:
                ran = await self._run(argv)
                if ran.code != 0:
                    raise BackendFull(f"{ran.program}: {ran.said}", scheduler=self.name)
                found = self.read_limits(ran.output)
            array = self.config.get("scheduler_array_limit", found.array)
            self._limits = found._replace(array=array)
            self.kill_seconds = found.kill_seconds
        return self._limits

    # Submitting

    def directives(self, job: Job) -> Sequence[str]:
        amounts = job.call.options.amounts(job.next_attempt)
        given = portable.natives_of(self.config, self.option_prefixes)
        lines = [*self.own_directives(job), *portable.lines(amounts, self.portable, given)]
        return [f"{self.directive} {line}" for line in lines]

    async def submit_job(self, job: Job) -> int | str:
        [outcome] = await self.submit_jobs([job])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def submit_jobs(self, jobs: Sequence[Job]) -> Sequence[Outcome]:
        outcomes: dict[Job, Outcome] = {}
        began = time.monotonic()
        try:
            limit = (await self.limits()).array if len(jobs) > 1 else 1
        except BackendUnavailable as exc:
            return [BackendFull(str(exc), scheduler=self.name)] * len(jobs)  # nothing was handed over
        shapes: dict[tuple[bool, *tuple[str, ...]], list[Job]] = {}
        for job in jobs:
            shapes.setdefault((job.claims(), *self.directives(job)), []).append(job)
        singles = []
        for alike in shapes.values():
            for first in range(0, len(alike), max(limit, 1)):
                part = alike[first : first + max(limit, 1)]
                if len(part) == 1:
                    singles += part
                else:
                    outcomes |= await self._submit_array(part)
        outcomes |= await self._submit_singles(singles)
        for job, outcome in outcomes.items():
            if not isinstance(outcome, Exception):
                self._sightings.note(job, began)
        return [outcomes[job] for job in jobs]

    async def _submit_singles(self, jobs: Sequence[Job]) -> Mapping[Job, Outcome]:
        """One command for each, some at a time; trouble of one is the trouble of those after it."""
        outcomes: dict[Job, Outcome] = {}
        trouble: BackendUnavailable | None = None
        for first in range(0, len(jobs), SINGLES_AT_ONCE):
            part = jobs[first : first + SINGLES_AT_ONCE]
            if trouble is not None:
                told = BackendFull(str(trouble), scheduler=self.name)
                outcomes |= dict.fromkeys(part, told)
                continue
            done = await asyncio.gather(*(self._submit_one(job) for job in part))
            outcomes |= dict(zip(part, done, strict=True))
            trouble = next((one for one in done if isinstance(one, BackendUnavailable)), None)
        return outcomes

    async def _submit_one(self, job: Job) -> Outcome:
        token = batching.token_of(store_of(job), f"{job.id}.{job.start}")
        try:
            ran = await self._run(self.submit_command(job.script(self), self.job_name(token)))
        except BackendUnavailable as exc:
            return exc
        if ran.code != 0:
            return self._submit_error(ran)
        return self.read_uid(ran.output) or self._unavailable(ran)

    async def _submit_array(self, jobs: Sequence[Job]) -> Mapping[Job, Outcome]:
        """One command for all; what goes wrong goes wrong for each."""
        token = batching.token_of(store_of(jobs[0]), batching.new_batch())
        root = os.path.dirname(jobs[0].directory)
        elements = [Element(job.id, job.start, job.claims()) for job in jobs]
        wrapped = f"{metadir.WRAPPED}{self.name}"
        text = batching.array_text(root, wrapped, self.index_variable, self.directives(jobs[0]), elements)
        try:
            script = batches.write(root, token, text)
        except OSError as exc:
            return dict.fromkeys(jobs, exc)
        argv = self.array_command(script, self.job_name(token), len(jobs))
        if argv is None:
            batches.forget(script)
            return await self._submit_singles(jobs)
        try:
            ran = await self._run(argv)
        except BackendUnavailable as exc:
            return dict.fromkeys(jobs, exc)
        if ran.code != 0:
            return dict.fromkeys(jobs, self._submit_error(ran))
        uids = self.read_array_uids(ran.output, len(jobs))
        if uids is None:
            return dict.fromkeys(jobs, self._unavailable(ran))
        batches.forget(script)
        return dict(zip(jobs, uids, strict=True))

    def _submit_error(self, ran: Ran) -> Exception:
        """What it means that a submission failed."""
        told, said = f"{ran.program}: {ran.said}", f"{ran.error}\n{ran.output}"
        if self.full.search(said):
            return BackendFull(told, scheduler=self.name, argv=ran.argv, output=said)
        if self.refused.search(said) and not self.passing.search(said):
            return SubmitError(told, scheduler=self.name, argv=ran.argv, output=said)
        return BackendUnavailable(told, scheduler=self.name, argv=ran.argv, output=said)

    # Asking

    async def job_is_running(self, job: Job) -> bool:
        answers = await self._answers([job])
        return answers[job].presence is not Presence.GONE

    async def poll_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, Answer]:
        if not jobs:
            return {}
        try:
            return await self._answers(jobs)
        except BackendUnavailable:
            return dict.fromkeys(jobs, Answer(Presence.UNKNOWN, self._touch.reason))

    async def _answers(self, jobs: Sequence[Job]) -> Mapping[Job, Answer]:
        """One command for all, and another for those that it does not list: it may have missed some.

        Raises:
            BackendUnavailable: It could not be asked.
        """
        asked = {job.uid: job for job in jobs if job.uid}
        answers = dict.fromkeys(jobs, _GONE)
        if asked:
            found = await self._look(asked, self.poll_command, self.read_poll)
            if missing := {uid: job for uid, job in asked.items() if uid not in found}:
                keep = (await self.limits()).keep_seconds
                found |= await self._look(missing, self.ends_command, self.read_ends, keep)
            silent = {
                uid: job for uid, job in asked.items() if self.lists_deleted and found.get(uid) == _GONE
            }
            if lost := {uid: job for uid, job in asked.items() if uid not in found} | silent:
                found |= await self._account(lost, silent)
            answers |= {job: found[job.uid] for job in jobs if job.uid in found}
        for job, answer in answers.items():
            self._note_node(job, answer)
        return answers

    async def _look(
        self,
        asked: Mapping[str, Job],
        command: Callable[[Sequence[str]], Sequence[str]],
        read: Callable[[str], Iterable[Listed]],
        keep: float = 0.0,
    ) -> dict[str, Answer]:
        """Those that are listed, and the elements of arrays that are listed as a whole, ended.

        Also those whose absence says it: what ended is listed for so many seconds, where `keep` is given.
        """
        began = time.monotonic()
        listed = await self._ask(command(list(asked)), read)
        found = {}
        for uid, job in asked.items():
            one, array = listed.get(uid), self.array_of(uid)
            if one is None and (whole := listed.get(array)) is not None:
                one = whole if whole.answer.presence is Presence.GONE else None
            if one is not None and is_of(one, job):
                found[uid] = one.answer
                if one.answer.presence is not Presence.GONE:
                    self._sightings.note(job, began)
            elif one is None and self._sightings.taken_out(job, listed.values(), array, keep):
                found[uid] = TAKEN_OUT
        return found

    async def _account(self, asked: Mapping[str, Job], silent: Mapping[str, Job]) -> Mapping[str, Answer]:
        """How those ended that the queue does not list, or silently, where the accounting says it."""
        try:
            argv = self.account_command(list(asked))
            if argv is None:
                return {}
            listed = await self._ask(argv, self.read_account)
        except BackendUnavailable:
            listed = {}  # that they are gone is known; how they ended may be told yet
        ended = {uid: one for uid, one in listed.items() if one.answer.presence is Presence.GONE}
        told = {uid: one.answer for uid, one in ended.items() if uid in asked and is_of(one, asked[uid])}
        without = {uid: job for uid, job in asked.items() if uid not in told}
        looked_up = {number_of(uid) for uid in listed}
        for uid, job in without.items():
            if uid in silent and number_of(uid) in looked_up:
                told[uid] = self._sightings.without_record(job)
            elif self.account_seconds and self._sightings.is_late(job, self.account_seconds):
                told[uid] = _OWED
        return told

    def _note_node(self, job: Job, answer: Answer) -> None:
        """A host that went down is avoided by the next start."""
        reason = answer.reason
        if reason is not None and reason.code == "NODE_FAIL" and (node := reason.detail.get("node")):
            self._bad_nodes.setdefault(job, set()).add(str(node))

    async def find_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, int | str]:
        # whose files say how this start ended was taken: its number is not needed any more
        ended = await asyncio.to_thread(lambda: [job for job in jobs if self._has_ended(job)])
        uids: dict[Job, int | str] = dict.fromkeys(ended, "")
        by_place = {(job.id, job.start): job for job in jobs if job not in uids}
        if not by_place:
            return uids
        found = await self._ask(self.find_command(), self.read_find)
        elements = batches.read_all(os.path.dirname(jobs[0].directory))
        for listed in found.values():
            place = batching.place_of(listed.name, listed.element, store_of(jobs[0]), elements)
            job = by_place.get(place) if place is not None else None
            # of several copies one that has not ended
            if job is not None and (job not in uids or listed.answer.presence is not Presence.GONE):
                uids[job] = listed.uid
        return uids

    def _has_ended(self, job: Job) -> bool:
        """Whether its files are of this start, and say an end."""
        try:
            news, start = metadir.read_news(job.directory), metadir.read_start(job.script(self), job.identity)
        except OSError:
            return False
        return start == job.start and news.rc is not None

    # Killing

    async def kill_job(self, job: Job) -> None:
        await self.kill_jobs([job])

    async def kill_jobs(self, jobs: Sequence[Job]) -> None:
        others = await self._strangers([job for job in jobs if job.uid])
        self._sightings.ask_to_end(jobs)
        uids = list(dict.fromkeys(job.uid for job in jobs if job.uid and job not in others))
        trouble: BackendUnavailable | None = None
        for first in range(0, len(uids), KILL_CHUNK):
            try:
                ran = await self._run(self.kill_command(uids[first : first + KILL_CHUNK]))
                if ran.code != 0 and not self.unknown.search(f"{ran.error}\n{ran.output}"):
                    raise self._unavailable(ran)
            except BackendUnavailable as exc:
                trouble = exc
        if trouble is not None:
            raise trouble

    async def _strangers(self, jobs: Sequence[Job]) -> set[Job]:
        """Those whose numbers others have now, which nobody asked to end; looked at by one command at most.

        Raises:
            BackendUnavailable: It can't be looked at now.
        """
        unknown = self._sightings.unknown(jobs)
        if not unknown:
            return set()
        found = await self._ask(self.poll_command([job.uid for job in unknown]), self.read_poll)
        return strangers(unknown, found.values())
