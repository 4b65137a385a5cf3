"""The contract of plugins: the hooks on a job's life, and how they are called.

A plugin is a module, a class or an object whose attributes are decorated with `simplug.impl`. It is
given to one producer by `Xqute(plugins=[…])`, to all by `simplug.register(…)` or an entry point of the
group `xqute`. Hooks are coroutines; plain functions work, and warn when they are registered.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simplug import NoSuchHookSpec, Simplug, SimplugException, SimplugImpl, SimplugWrapper

from .errors import OptionError, Reject
from .hooking import HookCall
from .options import unknown
from .settings import HOOK_BLOCKS_SECONDS, HOOK_MAX_SECONDS, HOOK_SLOW_SECONDS

if TYPE_CHECKING:
    from .job import Job
    from .scheduler import Scheduler

log = logging.getLogger("xqute.plugin")


class Hooks:
    """Every hook, with what it promises; the arguments' names are part of the promise."""

    async def on_init(self, scheduler: Scheduler) -> None:
        """Right after the scheduler was made ready; before any hook of a job."""

    async def on_shutdown(self, scheduler: Scheduler, consumer: Any) -> None:
        """The scheduler is shutting down; `consumer` is the `Xqute`. The last hook of a run."""

    async def on_complete(self, scheduler: Scheduler) -> None:
        """Nothing of the run can go on: all jobs have ended, or the run was stopped."""

    async def on_job_init(self, scheduler: Scheduler, job: Job) -> None:
        """The job is in the store. It is not handed over before this returned."""

    async def on_job_queued(self, scheduler: Scheduler, job: Job) -> None:
        """The job may run: after it was accepted, and after a retry was asked for."""

    async def on_job_submitted(self, scheduler: Scheduler, job: Job) -> None:
        """The scheduler has the job; `job.uid` is its id there."""

    async def on_job_started(self, scheduler: Scheduler, job: Job) -> None:
        """The job's wrapper runs."""

    async def on_job_event(self, scheduler: Scheduler, job: Job, event: str) -> None:
        """Something else happened: returned to the queue, asked to stop, skipped, or said by the job."""

    async def on_job_finishing(self, scheduler: Scheduler, job: Job) -> bool | None:
        """The job ended with rc 0, and is not FINISHED yet.

        Returning False, or raising `Reject("outputs missing")`, makes it a failed attempt.
        """

    async def on_job_killing(self, scheduler: Scheduler, job: Job) -> bool | None:
        """The job is about to be asked to stop. Returning False forbids that kill."""

    async def on_job_killed(self, scheduler: Scheduler, job: Job) -> None:
        """The job was stopped, and nothing of it runs."""

    async def on_job_failed(self, scheduler: Scheduler, job: Job) -> None:
        """An attempt failed; `job.will_retry` tells whether another follows."""

    async def on_job_succeeded(self, scheduler: Scheduler, job: Job) -> None:
        """The job is FINISHED."""


HOOK_NAMES: Final = tuple(name for name in vars(Hooks) if name.startswith("on_"))


class _Manager(Simplug):
    """Names the nearest hook where there is none of a name."""

    def impl(self, hook: Callable[..., Any]) -> SimplugImpl:
        try:
            return super().impl(hook)
        except NoSuchHookSpec as exc:
            raise OptionError(unknown("hook", hook.__name__, HOOK_NAMES)) from exc


def _declare(manager: Simplug) -> Simplug:
    for name in HOOK_NAMES:
        manager.spec(getattr(Hooks, name))
    return manager


#: The plugin manager all plugins meet at; `Simplug("xqute")` is the same object.
simplug: Final = _declare(_Manager("xqute"))


class Implementation(NamedTuple):
    """One plugin's implementation of one hook."""

    plugin: str
    call: Callable[..., Any]


class Plugins:
    """The plugins of one producer: its own, then those registered for all. One that is both is its own.

    A raising hook is logged with its plugin's name; other plugins and the job go on. One that takes
    more than 10 s is named, one that takes more than 60 s is cancelled.
    """

    def __init__(self, own: Sequence[Any] = ()) -> None:
        """Register a producer's own plugins.

        Raises:
            OptionError: One implements a hook with other arguments, can't be imported or made, or two have
                one name.
        """
        # Simplug keeps one object per name; this one is nobody else's, so it is made past that.
        self._own: Simplug = object.__new__(Simplug)
        self._own.__init__("xqute")  # type: ignore[misc]
        _declare(self._own)
        try:
            for plugin in map(_imported, own):
                _refuse_bare_hooks(plugin)
                self._own.register(plugin)
        except SimplugException as exc:
            msg = f"a plugin can't be used: {exc}"
            raise OptionError(msg) from exc
        self._table: dict[str, tuple[Implementation, ...]] = {}
        self._instances: dict[int, Any] = {}
        self.collect()

    def collect(self) -> None:
        """Look again at what is registered; done whenever an engine starts."""
        wrappers = list(self._own.get_enabled_plugins().values())
        # equal are wrappers of the same object
        wrappers += [shared for shared in simplug.get_enabled_plugins().values() if shared not in wrappers]
        wrappers.sort(key=lambda wrapper: wrapper.priority)
        self._table = {name: tuple(self._find(name, wrappers)) for name in HOOK_NAMES}

    def _find(self, name: str, wrappers: Sequence[SimplugWrapper]) -> list[Implementation]:
        found = ((wrapper, wrapper.hook(name)) for wrapper in wrappers)
        return [Implementation(wrapper.name, self._bind(wrapper, hook)) for wrapper, hook in found if hook]

    def _bind(self, wrapper: SimplugWrapper, hook: SimplugImpl) -> Callable[..., Any]:
        """A class whose hooks take `self` is instantiated once, not at each call."""
        if not (hook.has_self and wrapper.is_class):
            return hook
        made = self._instances
        if id(wrapper.plugin) not in made:
            made[id(wrapper.plugin)] = _made(wrapper)
        bound: Callable[..., Any] = hook.__get__(made[id(wrapper.plugin)])
        return bound

    def has(self, hook: str) -> bool:
        """Whether any plugin implements it."""
        return bool(self._table[hook])

    async def fire(self, hook: str, *args: Any) -> list[Any]:
        """Call every implementation, in the order of their priorities; what each returned.

        Raises:
            Reject: An implementation of `on_job_finishing` raised it.
        """
        return [await self._call(hook, implementation, args) for implementation in self._table[hook]]

    async def _call(self, hook: str, implementation: Implementation, args: tuple[Any, ...]) -> Any:
        who = f"{hook} of plugin {implementation.plugin!r}"
        call = HookCall(self, hook, implementation.plugin, args[1] if hook.startswith("on_job_") else None)
        try:
            with call.entered():
                return await _called(call, who, partial(implementation.call, *args))
        except Reject:
            if hook == "on_job_finishing":
                raise
            log.exception("%s raised Reject, which only on_job_finishing may", who)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            log.exception("%s awaited something that was cancelled", who)
        except TimeoutError:
            log.exception("%s was cancelled after %s s, or timed out by itself", who, HOOK_MAX_SECONDS)
        except Exception:
            log.exception("%s raised; the job and the other plugins go on", who)
        return None


def _imported(plugin: Any) -> Any:
    """A module that was given by its name."""
    if not isinstance(plugin, str):
        return plugin
    try:
        return import_module(plugin)
    except ImportError as exc:
        msg = f"plugin {plugin!r}, a text, is the name of a module, which can't be imported: {exc}"
        raise OptionError(msg) from exc


def _made(wrapper: SimplugWrapper) -> Any:
    """An object of a class."""
    try:
        return wrapper.plugin()
    except TypeError as exc:
        msg = f"plugin {wrapper.name!r} is a class that can't be made into an object: {exc}; give an object"
        raise OptionError(msg) from exc


def _refuse_bare_hooks(plugin: Any) -> None:
    """A hook without its decorator would do nothing, silently."""
    for name in HOOK_NAMES:
        found = getattr(plugin, name, None)
        if callable(found) and not isinstance(found, SimplugImpl):
            raise OptionError(f"{name} of plugin {plugin!r} is not decorated with `simplug.impl`")


async def _called(call: HookCall, who: str, implementation: Callable[[], Any]) -> Any:
    begun = time.monotonic()
    answer = implementation()
    blocked = time.monotonic() - begun
    if blocked > HOOK_BLOCKS_SECONDS:
        log.warning("%s held the event loop for %.1f s: nothing else could happen", who, blocked)
    return await _in_time(answer, call, who) if inspect.isawaitable(answer) else answer


async def _in_time(answer: Awaitable[Any], call: HookCall, who: str) -> Any:
    loop = asyncio.get_running_loop()

    def say(what: str, seconds: float) -> None:
        log.warning("%s %s %s s%s", who, what, seconds, call.told)

    slow = loop.call_later(HOOK_SLOW_SECONDS, say, "takes more than", HOOK_SLOW_SECONDS)
    late = loop.call_later(HOOK_MAX_SECONDS, say, "is cancelled after", HOOK_MAX_SECONDS)
    try:
        async with asyncio.timeout(HOOK_MAX_SECONDS):
            return await answer
    finally:
        slow.cancel()
        late.cancel()


_loaded: set[str] = set()


def load_entry_points() -> None:
    """Register the plugins that installed packages offer in the group `xqute`; each once per process.

    One that can't be loaded is logged, and harms nobody else.
    """
    for entry in entry_points(group="xqute"):
        if entry.value in _loaded:
            continue
        _loaded.add(entry.value)
        try:
            simplug.register((entry.load(), entry.name))
        except Exception:
            log.exception("the plugin %r of an installed package can't be used: %s", entry.name, entry.value)
