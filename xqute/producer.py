"""`Xqute`: what users hold; it joins a store and a scheduler."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Never, Self

from .arguments import (
    a_limit,
    failure_budget,
    job_id,
    kept,
    make_query,
    make_sharing,
    make_wish,
    need_directory,
    need_loop,
    need_same_loop,
    refuse_unknown,
    refuse_while_imported,
    runs_here,
    settle,
    several,
)
from .calls import Call, as_calls, calls_of
from .completing import in_order_of_end
from .engine import unawaited
from .engine.room import StopReason
from .functions import refuse_arguments
from .hooking import refuse_in_hook
from .job import Job
from .metadir import prepare_root
from .options import OPTION_NAMES, JobOptions, apply_options
from .plugin import Plugins, load_entry_points
from .report import Report, Stats, mention_failures
from .rules.freshness import BuildStatus
from .scheduler import Scheduler
from .schedulers.names import make_scheduler
from .settings import MAX_WAIT_SECONDS, NUM_RETRIES
from .standing import raise_what_happened, report_of, stats_of
from .states import JobStatus
from .store import Store
from .stores.names import make_store
from .wanted import Wanted, dependents_of, name_of
from .wiring import progress_plugins, wire
from .work import Command

#: What can be pushed.
Pushable = Command | Call | Callable[..., Any]


class Xqute:
    """Joins a store and a scheduler; its pushes are one run.

    Must be made where an event loop runs. `push` accepts and stores; the first `run_until_complete`,
    `await job` or `async with` starts the engine, one background task that runs the jobs. It ends when
    nothing can go on; a later push and wait starts it again.

    Args:
        scheduler: A name (`local`), a subclass of `Scheduler`, or an object of one.
        job_metadir: Where the job directories are; made absolute at once.
        job_error_strategy: What a failed job means: `ignore`, `retry` or `halt`.
        job_num_retries: Attempts after the first, with `retry`.
        scheduler_forks: Jobs at a time; by default 1 on local, 100 on a batch scheduler.
        scheduler_prescript: Shell text before each command, under `set -e`.
        scheduler_postscript: Shell text after each command, whatever happened.
        scheduler_jobprefix: How the jobs are named at the scheduler.
        plugins: Plugins of this producer: modules, classes or objects.
        store: Where jobs are remembered: a URL or a store; by default `<job_metadir>/xqute.db`.
        max_failures: Stop the run at so many failed jobs: a number, or a share such as "5%".
        resume: Go on with the newest run of this script: what is pushed again and ended well is reused,
            what runs is taken over, what failed gets a new start. "wait": when its owner lives, until
            that ends. "all": also with the jobs that are not pushed again, but for builds that have
            younger ones.
        run: The id of the run to go on with.
        on_interrupt: What becomes of running jobs at Ctrl-C, SIGTERM and SIGHUP: "kill" or "detach".
        calls: The named calls there are, for `build(…, dependents=True)`.
        resources: What this process has for its jobs, such as {"cpus": 8, "mem": "16G", "licence": 2}: jobs
            start when what they ask for is free. What is not named here is not counted.
        limits: How many jobs of a task (or of a name given with limit=) may run at once, across all
            processes of the store, from now on; as `set_limit`.
        max_wait: How long jobs that need less may pass one that waits for resources.
        progress: Show the progress on the terminal; by default when XQUTE_PROGRESS=1. "counts": without
            the failures, where the program tells of those itself.
        keep: Which job directories stay when a job has ended and nobody needs its result: "all", "failed"
            (those of jobs that did not end well) or "none". Those of named calls always do.
        **options: Options of `push`, as defaults for all jobs; all others go to the scheduler.

    Raises:
        OptionError: An option is not known; names the nearest.
        MetadirError: The metadir can't be made or written.
        NoEventLoop: No event loop runs.

    A method that changes something of an earlier run raises `RunOwned` when a living process owns it,
    and `RunNotFound` when there is no such run.
    """

    def __init__(
        self,
        scheduler: str | type[Scheduler] | Scheduler = "local",
        *,
        job_metadir: str | os.PathLike[str] = "./.xqute/",
        job_error_strategy: str = "ignore",
        job_num_retries: int = NUM_RETRIES,
        scheduler_forks: int | None = None,
        scheduler_prescript: str = "",
        scheduler_postscript: str = "",
        scheduler_jobprefix: str = "",
        plugins: Sequence[Any] = (),
        store: str | Store | None = None,
        max_failures: int | str | None = None,
        resume: bool | str = False,
        run: str | None = None,
        on_interrupt: str = "kill",
        calls: Iterable[Call] = (),
        resources: Mapping[str, Any] | None = None,
        limits: Mapping[str, int | None] | None = None,
        max_wait: float | str = MAX_WAIT_SECONDS,
        progress: bool | str | None = None,
        keep: str = "all",
        **options: Any,
    ) -> None:
        """Check everything that can be checked; nothing runs yet."""
        refuse_while_imported()
        self._loop = need_loop()
        need_directory()
        self._options = self._take_defaults(options, job_error_strategy, job_num_retries)
        self.scheduler = make_scheduler(scheduler, options, ARGUMENTS | DEFAULTABLE)
        self.scheduler.check_resources(self._options.takes)
        texts = {"prescript": scheduler_prescript, "postscript": scheduler_postscript}
        settle(self.scheduler, scheduler_forks, on_interrupt, **texts, jobprefix=scheduler_jobprefix)
        self.metadir = prepare_root(job_metadir)
        load_entry_points()
        own = Plugins([*several("plugins", plugins), *progress_plugins(self, progress)])
        self._calls = as_calls(calls, "calls=")
        self._store = make_store(store, self.metadir)
        self._room, self._keeper, self._driver, self._pusher, self._builder = wire(
            *(self, self.scheduler, self._store, own, make_wish(resume, run)),
            root=str(self.metadir),
            calls=self._calls,
        )
        self._room.budget = failure_budget(max_failures)
        self._room.sharing = make_sharing(resources, limits, max_wait)
        self._room.keep = kept(keep)

    @staticmethod
    def _take_defaults(options: dict[str, Any], strategy: str, retries: int) -> JobOptions:
        """The options that are for jobs, taken out of those that are for the scheduler."""
        mine = {name: options.pop(name) for name in DEFAULTABLE & options.keys()}
        return apply_options(JobOptions(), {**mine, "error_strategy": strategy, "retries": retries})

    # Pushing

    async def push(self, call: Pushable, *misplaced: Never, **options: Any) -> Job:
        """Accept a command (a list is an argv, a str is a shell line), a call, or a function.

        A call comes with all calls in it, as a tree: all of its jobs are accepted, or none.

        The job is durable when this returns; it runs when the engine does.

        Args:
            call: What to run.
            *misplaced: Refused: a function has its arguments in its call, a command in its list.
            **options: `priority, retries, retry_delay, timeout, grace, env, cwd, stdin, stdout,
                stderr, title, user, tags, error_strategy, cpus, mem, gpus, time, resources, limit`.

        Raises:
            OptionError: The command, the call or an option is not usable.
            CycleError: A call needs itself.
            StoreError: It could not be kept.
        """
        refuse_arguments(call, misplaced, options)
        return (await self.push_many((call,), **options))[0]

    async def push_many(self, calls: Iterable[Pushable], **options: Any) -> list[Job]:
        """Accept several, all or none, in one transaction; the options are for each.

        Calls that stand in several of them are one job each.
        """
        need_same_loop(self._loop)
        planned = self._pusher.plan(as_calls(calls, "push_many()"), self._options, options)
        if not planned.nodes:
            return []
        await self._driver.own()
        jobs = await self._pusher.push(planned)
        self._keeper.pushed += jobs
        if not self._driver.running:
            stopped = "" if self._room.stop is None else str(self._room.stop)
            unawaited.pushed(self._keeper.root, sum(not job.done() for job in jobs), stopped)
        return jobs

    async def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **options: Any) -> list[Job]:
        """Push a call for each item, as the built-in `map` makes them; one transaction."""
        refuse_arguments(fn, (), options)
        return await self.push_many(calls_of(fn, *iterables), **options)

    async def set_limit(self, name: str, most: int | None) -> None:
        """Let at most so many jobs of a task run at once in all processes of the store; 0: none.

        It holds from the next claim on, for jobs that were pushed before too when their task had a limit.
        None: what the task says itself.

        Args:
            name: Of the task, or of a limit given with limit=.
            most: How many.
        """
        need_same_loop(self._loop)
        limit = a_limit(name, most)
        await self._driver.open()
        await self._room.sharing.set(self._store, *limit)
        self._room.claim_wanted.set()

    # Keeping results up to date

    async def build(
        self,
        call: Call,
        *,
        deps: str | None = "outdated",
        dependents: bool | Iterable[Call] = False,
        pin: Mapping[str, int] | None = None,
        force: bool = False,
    ) -> Job:
        """Bring the result of a named call up to date; returns its job, which has ended, however it did.

        Args:
            call: What is wanted. When it is up to date, nothing runs and its newest build is returned.
            deps: Which calls it needs may be built first: "outdated" (or missing), "missing", or None.
            dependents: Also bring up to date what depends on what was built: True for all of
                `Xqute(calls=…)`, or the calls.
            pin: Older builds to use: name → job id.
            force: Build it although it is up to date, or protected.

        Raises:
            MissingDependencies: `deps=None`, and there is no result of a call it needs.
            DependencyFailed: A call it needs failed, or was killed.
            OptionError: A pinned build is none, or nothing would be made of it.
            XquteError: It is protected and outdated.
        """
        need_same_loop(self._loop)
        wanted = Wanted((call,), deps, dependents_of(dependents, self._calls), pin, force)
        await self._driver.own()
        return await self._builder.build(wanted, self._options)

    async def _build_together(self, wanted: Wanted) -> Mapping[str, Job | BaseException]:
        """Several calls by one decision, as `xqute build` does; returns what each came to, and dependents."""
        self._room.again = "the same `xqute build`"
        await self._driver.own()
        return await self._builder.build_together(wanted, self._options)

    async def status(self, call: Call) -> BuildStatus:
        """How a named call stands: "not_built", "failed", "outdated" or "success"; `.why` and `.running`."""
        need_same_loop(self._loop)
        await self._driver.open()
        return (await self._builder.statuses([call], self._options))[name_of(call)]

    # Running

    async def run_until_complete(self) -> Report:
        """Run until nothing of the run can go on: all jobs have ended, or the run was stopped.

        Inside `async with` the engine goes on: what is pushed afterwards runs as well.
        A halt returns normally; `stop_reason` tells. Cancelling this stops the run, and passes on when
        nothing of it is left.
        """
        need_same_loop(self._loop)
        refuse_in_hook(self._room.plugins, "run_until_complete()")
        self._driver.forget_stop()
        self._room.attended = self._room.held
        try:
            async with self._driver.needed():
                await self._driver.start()
                await self._driver.complete()
                if self._driver.crash is not None:
                    raise self._driver.crash
                return await report_of(self._room, self._keeper, self._driver)
        finally:
            self._room.attended = True

    async def __aenter__(self) -> Self:
        """Start the engine; it runs what is pushed, until the block is left."""
        need_same_loop(self._loop)
        refuse_in_hook(self._room.plugins, "`async with`")
        self._driver.forget_stop()
        await self._driver.own()
        self._room.held = self._room.attended = True
        self._driver.block = asyncio.current_task()
        await self._driver.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for all jobs; an exception in the block stops the run first.

        Raises:
            Halted: The run was stopped by a failure.
        """
        self._room.held = self._room.attended = False
        self._driver.block = None
        if error is not None:
            cancelled = isinstance(error, asyncio.CancelledError)
            name = "cancelled" if cancelled else type(error).__name__
            self._room.request_stop(StopReason(name, "" if cancelled else f"stopped by {error!r}"))
        self._room.wake.set()
        try:
            await self._driver.ended()
            await self._driver.close()
        finally:
            self._room.attended = True
        if error is None:
            raise_what_happened(self._room, self._driver)
            mention_failures(self._keeper.known.values())

    def request_stop(self, reason: str) -> None:
        """Stop the run: nothing new starts, what runs is killed; the first reason wins.

        May be called from any thread.
        """
        if runs_here(self._loop):
            self._room.request_stop(StopReason(reason))
        else:
            self._loop.call_soon_threadsafe(self._room.request_stop, StopReason(reason))

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the run was stopped; None when it was not."""
        return self._room.stop

    @property
    def run(self) -> str:
        """The id of its run; empty before its first job is accepted, or an earlier run taken over."""
        return self._room.run

    @property
    def jobs(self) -> Sequence[Job]:
        """The jobs that were pushed here, in that order."""
        return list(self._keeper.pushed)

    # Looking

    def as_completed(self, jobs: Iterable[Job]) -> AsyncIterator[Job]:
        """The jobs in the order in which they end, however they do; or it is known that they never will."""
        return in_order_of_end(jobs, self._keeper.wait)

    async def get(self, id: int) -> Job:
        """The job with this id, of any run in the store.

        Raises:
            JobNotFound: There is none.
            OptionError: It is no number.
        """
        need_same_loop(self._loop)
        number = job_id(id)
        await self._driver.open()
        return await self._keeper.get(number)

    async def find(
        self,
        *,
        status: JobStatus | str | Iterable[JobStatus | str] | None = None,
        task: str | None = None,
        tag: str | None = None,
        user: str | None = None,
        name: str | None = None,
        run: str | None = None,
        top: bool = False,
        archived: bool | None = False,
        limit: int = 100,
        **misspelt: Never,
    ) -> list[Job]:
        """Jobs of all runs that match, oldest first; `top`: only those pushed, `archived`: None for any."""
        need_same_loop(self._loop)
        refuse_unknown(self.find, misspelt)
        words = {"task": task, "tag": tag, "user": user, "name": name, "run": run}
        query = make_query(limit, status, {"top": top, "archived": archived}, **words)
        await self._driver.open()
        return await self._keeper.load_all(await self._store.page(query))

    async def stats(self) -> Stats:
        """How the run stands now."""
        return await stats_of(self._room, self._keeper, self._driver)


ARGUMENTS: Final = frozenset(inspect.signature(Xqute).parameters) - {"options"}
DEFAULTABLE: Final = OPTION_NAMES - {"error_strategy", "retries", "title", "resources"}
