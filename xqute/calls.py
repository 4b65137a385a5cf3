"""What users write: tasks, and calls of them that nest. Inert: nothing here runs or stores anything."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, NoReturn, overload

from .errors import OptionError
from .functions import bind, own_options, refuse_as_task, refuse_generators, signature_of
from .naming import Naming
from .options import OPTION_NAMES, JobOptions, apply_options, refuse_unknown
from .pickling import find_by_name, is_call_type, is_job_type, name_of
from .printable import printable
from .shown import short_name, shown_call, shown_value

_OWN_OPTIONS: Final = frozenset({"name", "version", "reuse", "fork"})
_DEFAULTS: Final = JobOptions()


@dataclass(frozen=True, slots=True, eq=False, repr=False, weakref_slot=True)
class Call:
    """What to run: a function with arguments, or a command. Inert until it is pushed.

    Calls nest: a call that stands anywhere in the arguments of another (in lists, dictionaries,
    dataclasses, …) runs before it and is replaced by its result. So does a job. A call is one thing,
    however often it is used: it runs once per push.

    Attributes:
        what: A function or task; for a command an argv as a tuple, or a shell line as a text.
        args, kwargs: The arguments of the function.
        given: Its own options.
        needs: Calls and jobs that must end well before it, without being arguments.
        naming: What its builds are found by, where its result is kept up to date.
    """

    __xqute_call__: ClassVar[bool] = True

    what: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[Any, ...] = ()
    naming: Naming | None = None

    def after(self, *needs: Any) -> Call:
        """The same call, to start only after these calls and jobs ended well.

        >>> light = cmd("blender", "light.blend")
        >>> shots = [cmd("blender", f"shot{n}.blend").after(light) for n in range(3)]
        >>> movie = cmd("ffmpeg", "movie.mp4").after(*shots)
        """
        for need in needs:
            if not (is_call_type(type(need)) or is_job_type(type(need))):
                raise OptionError(f"after() takes calls and jobs, not {shown_value(need)}{_hint(need)}")
        return replace(self, needs=(*self.needs, *needs))

    def options(self, **options: Any) -> Call:
        """The same call with options of its own, which win over those of `push()` and of its task.

        >>> call = cmd("sort", "big.txt").options(timeout="1h", retries=2)
        """
        apply_options(_DEFAULTS, options)
        given = {**self.given, **options}
        if "env" in options and "env" in self.given:
            given["env"] = {**self.given["env"], **options["env"]}
        return replace(self, given=given)

    def named(
        self,
        name: str,
        *,
        title: str = "",
        tags: Iterable[str] = (),
        notes: str = "",
        protected: bool = False,
    ) -> Call:
        """The same call, whose result is kept up to date under a name: see `Xqute.build`.

        >>> pages = cmd("wget", "-m", "https://example.org").named("pages", tags=["crawl"])

        Args:
            name: What its builds are found by, in the whole store.
            title: A label for people.
            tags: Words to find its jobs by, beside those given as an option.
            notes: Whatever is good to know of it.
            protected: What was built is not built again, nor deleted, unless that is forced.

        Raises:
            OptionError: The name is not one word or line, or something else is not what it says.
        """
        words = tags if isinstance(tags, str) else tuple(tags)  # a str is refused there
        return replace(self, naming=Naming(name, title, words, notes, protected))  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """What it calls, in a word."""
        if isinstance(self.what, str):
            return printable(self.what[:60])
        if isinstance(self.what, tuple):
            return printable(str(self.what[0])[:60]) if self.what else "cmd"
        return short_name(self.what)

    def __repr__(self) -> str:
        if isinstance(self.what, str):
            return shown_call("Call", (self.what,), {})
        name, args = ("cmd", self.what) if isinstance(self.what, tuple) else (self.name, self.args)
        return shown_call(name, args, self.kwargs)

    def __await__(self) -> NoReturn:
        raise TypeError(f"a call is inert: push it: job = await xq.push({self.name}(…))")

    def __iter__(self) -> NoReturn:
        raise TypeError(
            f"a call is inert and has no items: give {self.name}(…) as an argument to another call,"
            " which gets its result; or push it"
        )

    def __format__(self, how: str) -> NoReturn:
        raise TypeError(
            f"a call is inert, and {self.name}(…) in a text would be its name, not its result:"
            " give it as an argument of its own; repr() shows it"
        )

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"a call is inert, {self.name}(…) is neither true nor false: only its job has a result;"
            " compare it with None to see whether there is one"
        )


class Task:
    """A Python function whose calls run as jobs, with their options; made by `@task`.

    Calling it runs nothing: it returns a `Call` to push or to give to other calls. `task.fn(…)` runs
    the function here and now.

    Attributes:
        fn: The function.
        name: What it is called; jobs can be found by it.
        version: Changed by hand, it makes all calls of the task other ones than before.
        reuse: One process may serve many of its calls.
        fork: A call may begin in a copy of a process that has imported its module already.
        options: The options of its jobs, as given.
        cleanup_fn: Called once with the job when a call failed for good, was killed or is deleted.
    """

    __xqute_task__: ClassVar[bool] = True

    __qualname__: str
    fn: Callable[..., Any]
    name: str
    version: str
    reuse: bool
    fork: bool
    options: dict[str, Any]
    cleanup_fn: Callable[..., Any] | None

    def __init__(self, fn: Callable[..., Any], options: Mapping[str, Any]) -> None:
        """Check function and options; see `task`."""
        refuse_as_task(fn)
        refuse_unknown(options, OPTION_NAMES | _OWN_OPTIONS, "task option")
        own = {name: options[name] for name in options if name in _OWN_OPTIONS}
        jobs = {name: options[name] for name in options if name not in _OWN_OPTIONS}
        apply_options(_DEFAULTS, jobs)
        self._settle(fn, jobs, own_options(fn, own), None)

    def _settle(
        self, fn: Callable[..., Any], jobs: Mapping[str, Any], own: Mapping[str, Any], cleanup: Any
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.options = dict(jobs)
        self.name, self.version = own["name"], own["version"]
        self.reuse, self.fork = own["reuse"], own["fork"]
        self.cleanup_fn = cleanup
        self._signature = signature_of(fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Call:
        """A call of the function with these arguments; nothing runs.

        Raises:
            TypeError: The function does not take these arguments.
        """
        bind(self._signature, self.name, args, kwargs)
        return Call(self, args, kwargs)

    def cleanup(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function of the job, to be called once when a call of the task has gone wrong.

        That is: when it failed for good, was killed (even before it started) or is deleted.

        >>> @task
        ... def build(path): ...
        >>> @build.cleanup
        ... def remove(job): ...
        """
        refuse_generators(fn)
        self.cleanup_fn = fn
        return fn

    def __repr__(self) -> str:
        return f"<task {printable(self.name)}>"

    def __get__(self, instance: object, owner: type | None = None) -> Task:
        """A task is no method: the object would have to travel to the job."""
        if instance is not None and self.__qualname__.startswith(f"{type(instance).__qualname__}."):
            raise TypeError(
                f"{self.__qualname__} is a task inside a class: a task can't be a method;"
                " define it at the top of the module and give it the object as an argument"
            )
        return self

    def __reduce__(self) -> Any:
        if name_of(self) is not None and find_by_name(self.__module__, self.__qualname__) is self:
            return self.__qualname__
        own = {name: getattr(self, name) for name in _OWN_OPTIONS}
        # the function may hold the task itself, so it travels as a state and not as an argument
        return _blank_task, (), (self.fn, self.options, own, self.cleanup_fn)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._settle(*state)


@overload
def task(fn: Callable[..., Any], /) -> Task: ...
@overload
def task(**options: Any) -> Callable[[Callable[..., Any]], Task]: ...
def task(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make calls of a function run as jobs.

    ```python
    @task
    def light(scene): ...

    @task(retries=2, timeout="1h", name="render")
    async def render(scene, frame, light=None): ...

    job = await xq.push(render("shot.blend", 3, light("shot.blend")))
    ```

    Args:
        fn: The function; plain or async, no generator.
        **options: Those of `push()`, for every call of the task (`priority`, `retries`, `timeout`,
            `env`, `cwd`, …), and: `name` (what the task is called instead of the function's name),
            `version` (change it, and earlier results are not used again), `reuse` (one process may
            serve many calls: faster, for functions that leave nothing behind), `fork` (False: always
            a fresh interpreter).

    Raises:
        OptionError: An option is not known, or the function can't be a task.
    """
    if fn is not None:
        return Task(fn, options)
    return lambda fn: Task(fn, options)


def cmd(*argv: Any) -> Call:
    """A command. Arguments that are calls or jobs are replaced by their results, as text.

    >>> cmd("sort", "-r", "big.txt")
    cmd('sort', '-r', 'big.txt')

    Raises:
        OptionError: There is no program, or an argument is a list.
    """
    if not argv:
        raise OptionError("cmd() needs a program: cmd('sort', 'file')")
    for position, item in enumerate(argv):
        if isinstance(item, (list, tuple, set, frozenset, dict)) or hasattr(type(item), "__next__"):
            raise OptionError(
                f"argument {position} of cmd() is a {type(item).__name__}, and an argument is one text:"
                " put a * before it to give each of its items"
            )
        if hasattr(type(item), "__xqute_task__"):
            raise OptionError(f"argument {position} of cmd() is {item!r}{_hint(item)}")
    return Call(argv)


def as_call(thing: Any) -> Call:
    """What was pushed, as a call: a call, a list, a shell line, a task, a partial or any function.

    Raises:
        OptionError: It is none of these, or a function that needs arguments or can't run as a job.
    """
    if isinstance(thing, Call):
        return thing
    if isinstance(thing, (list, tuple)):
        if thing and (isinstance(thing[0], Call) or is_job_type(type(thing[0]))):
            raise OptionError(
                f"can't push {shown_value(thing)}: a list is a command, whose first element names a program;"
                " push several calls with push_many()"
            )
        return Call(tuple(thing))
    if isinstance(thing, str):
        return Call(thing)
    if is_job_type(type(thing)):
        raise OptionError(f"{shown_value(thing)} was pushed already: await it, or give it to a call")
    if isinstance(thing, functools.partial):
        return _maker(thing.func)(*thing.args, **thing.keywords)
    if callable(thing):
        return _maker(thing)()
    if hasattr(type(thing), "__iter__") and not isinstance(thing, (bytes, bytearray, Mapping)):
        return Call(tuple(thing))
    raise OptionError(
        f"can't push {shown_value(thing)}:"
        " give a list of arguments, a shell line as a str, a call or a function"
    )


def as_calls(things: Any, asked: str) -> list[Any]:
    """Several things to push, as given to `asked`, such as "push_many()".

    Raises:
        OptionError: It is one, or nothing that has items.
    """
    if not isinstance(things, (str, bytes, Call)) and hasattr(type(things), "__iter__"):
        return list(things)
    known = f"[{things!r}]" if isinstance(things, (str, Call)) else "[…]"
    raise OptionError(f"{asked} takes several calls, not {shown_value(things)}: give a list of them: {known}")


def calls_of(fn: Any, *iterables: Iterable[Any]) -> list[Call]:
    """One call of a function or task per item, as in `map(fn, *iterables)`.

    Raises:
        OptionError: It can't run as a job.
        TypeError: It does not take these arguments.
    """
    whole = functools.partial(fn)  # of a partial: its function, its arguments
    make = _maker(whole.func)
    return [make(*whole.args, *args, **whole.keywords) for args in zip(*iterables, strict=False)]


def _maker(fn: Any) -> Callable[..., Call]:
    """What makes calls of a function, and checks their arguments."""
    if isinstance(fn, Task):
        return fn
    refuse_generators(fn)
    signature, name = signature_of(fn), short_name(fn)

    def make(*args: Any, **kwargs: Any) -> Call:
        bind(signature, name, args, kwargs)
        return Call(fn, args, kwargs)

    return make


def _blank_task() -> Task:
    return Task.__new__(Task)


def _hint(thing: Any) -> str:
    if isinstance(thing, Task):
        return f": call it: {thing.name}(…)"
    if isinstance(thing, (list, tuple)) or hasattr(type(thing), "__next__"):
        return ": put a * before it"
    return ""
