"""One door per kind of change: who looks for the reason of a change looks in one place."""

import ast
import re
from collections.abc import Callable, Iterator

import pytest

from tests.architecture.sources import Rule, Source, Sources, failing_example, hold, package

#: Files that may change the status of a job. In jobstate.py a job gets its first one: when it is made,
#: and when it is made again from what a store kept.
STATUS_DOOR = ("engine/lifecycle.py",)
STATUS_MAKERS = {("jobstate.py", "__init__"), ("jobstate.py", "like"), ("jobstate.py", "restore")}
STATUS_NAMES = frozenset({"status", "_status"})

#: Where processes are started. A name with a slash at its end is a folder.
PROCESS_DOORS = (
    "runners/",  # the commands of a backend
    "schedulers/local.py",  # the jobs of this host
    "schedulers/local/",
    "inside/",  # in the job's own process: what the job itself runs
    "testing/",  # a toy cluster really starts its jobs
)
PROCESS_MODULES = re.compile(r"^(subprocess|multiprocessing|pty|asyncio\.subprocess)(\.|$)")
PROCESS_FUNCTIONS = re.compile(
    r"^(os|posix)\.(posix_spawnp?|fork|forkpty|system|popen|spawn\w+|exec[lv]\w*)$"
    r"|^asyncio\.create_subprocess_\w+$"
    r"|^concurrent\.futures(\.process)?\.ProcessPoolExecutor$"
)
#: Methods of a loop, whatever the loop is called.
PROCESS_METHODS = frozenset({"subprocess_exec", "subprocess_shell"})

#: Where the hooks of plugins are called.
HOOK_DOORS = ("engine/lifecycle.py", "engine/concluding.py", "engine/run.py")


def within(source: Source, doors: tuple[str, ...]) -> bool:
    return source.inner_path.startswith(tuple(door for door in doors if door.endswith("/"))) or (
        source.inner_path in doors
    )


def nodes(tree: ast.AST, function: str = "") -> Iterator[tuple[ast.AST, str]]:
    """Every node with the name of the function it stands in."""
    for node in ast.iter_child_nodes(tree):
        inner = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield node, inner
        yield from nodes(node, inner)


def changes_status(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
            return name in STATUS_NAMES
        # setattr(job, "status", …), object.__setattr__(job, "status", …)
        case ast.Call(
            func=ast.Name(id="setattr") | ast.Attribute(attr="__setattr__"),
            args=[_, ast.Constant(value=name), _],
        ):
            return name in STATUS_NAMES
        case _:
            return False


def status_changes(sources: Sources) -> list[str]:
    return [
        source.at(node.lineno, "only engine/lifecycle.py changes a status; another thing has another name")
        for source in sources
        if not within(source, STATUS_DOOR)
        for node, function in nodes(source.tree)
        if changes_status(node) and (source.inner_path, function) not in STATUS_MAKERS
    ]


def aliases(tree: ast.Module) -> dict[str, str]:
    """What the imported names of a file stand for: {"spawn": "os.posix_spawn"}."""
    names = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=imported):
                for alias in imported:
                    name = alias.asname or alias.name.split(".")[0]
                    names[name] = alias.name if alias.asname else name
            case ast.ImportFrom(module=str(module), names=imported, level=0):
                names |= {a.asname or a.name: f"{module}.{a.name}" for a in imported}
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    """The full name of an expression like `os.posix_spawn`, "" for anything else."""
    match node:
        case ast.Name(id=name):
            return names.get(name, "")
        case ast.Attribute(value=value, attr=attribute):
            base = dotted(value, names)
            return f"{base}.{attribute}" if base else ""
        # the name may hide in a string: getattr(…)
        case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=attribute), *_]):
            return dotted(ast.Attribute(value, str(attribute)), names)
        case _:
            return ""


def starts_processes(node: ast.AST, names: dict[str, str]) -> str:
    """The name by which a node starts processes, "" when it does not."""
    match node:
        case ast.Attribute(attr=name) if name in PROCESS_METHODS:
            return name
        case ast.Import(names=imported):
            found = [alias.name for alias in imported if PROCESS_MODULES.search(alias.name)]
            return "".join(found[:1])
        case ast.ImportFrom(module=str(module), names=imported):
            found = [f"{module}.{alias.name}" for alias in imported]
            return "".join([name for name in found if is_process_name(name)][:1])
        case _:
            name = dotted(node, names)
            return name if is_process_name(name) else ""


def is_process_name(name: str) -> bool:
    return bool(PROCESS_FUNCTIONS.search(name) or PROCESS_MODULES.search(name))


def process_starts(sources: Sources) -> list[str]:
    return [
        source.at(node.lineno, f"{name}: processes start in {' '.join(PROCESS_DOORS)}")
        for source in sources
        if not within(source, PROCESS_DOORS)
        for names in [aliases(source.tree)]
        for node in ast.walk(source.tree)
        if (name := starts_processes(node, names))
    ]


def calls_hooks(node: ast.AST) -> bool:
    match node:
        # plugins.fire("on_job_killed", …), also when it is only handed on
        case ast.Attribute(attr="fire"):
            return True
        # simplug.hooks.on_job_killed(…)
        case ast.Attribute(value=ast.Attribute(attr="hooks") | ast.Name(id="hooks"), attr=name):
            return name.startswith("on_")
        case _:
            return False


def hook_calls(sources: Sources) -> list[str]:
    return [
        source.at(node.lineno, f"calls hooks: only {' and '.join(HOOK_DOORS)} do")
        for source in sources
        if not within(source, HOOK_DOORS)
        for node in ast.walk(source.tree)
        if calls_hooks(node)
    ]


def test_status_has_one_door() -> None:
    """The status of a job changes in engine/lifecycle.py, by the table, and nowhere else.

    Fails:

        # xqute/engine/watcher.py
        def saw_exit(job):
            job.status = JobStatus.FINISHED
    """
    hold(status_changes(package()))


def test_processes_have_one_door() -> None:
    """Jobs of this host start in the local scheduler, commands of backends in runners.

    Fails:

        # xqute/schedulers/slurm.py
        import subprocess
    """
    hold(process_starts(package()))


def test_hooks_have_one_door() -> None:
    """Plugins hear of a job from the lifecycle, of a run from the run.

    Fails:

        # xqute/engine/watcher.py
        async def saw_exit(scheduler, job):
            await room.plugins.fire("on_job_succeeded", scheduler, job)
    """
    hold(hook_calls(package()))


RULES: dict[object, Rule] = {
    test_status_has_one_door: status_changes,
    test_processes_have_one_door: process_starts,
    test_hooks_have_one_door: hook_calls,
}

Case = tuple[str, Callable[[Sources], list[str]], str, str]

OTHER_WAYS_TO_BREAK_A_RULE: list[Case] = [
    ("in a tuple", status_changes, "engine/run.py", "a, job.status = 1, 2"),
    ("added to", status_changes, "engine/run.py", "job.status += 1"),
    ("annotated", status_changes, "engine/run.py", "self.status: int = 1"),
    ("loop variable", status_changes, "engine/run.py", "for job.status in x: pass"),
    ("deleted", status_changes, "engine/run.py", "del job.status"),
    ("private", status_changes, "producer.py", "job._status = 1"),
    ("setattr", status_changes, "engine/run.py", "setattr(job, 'status', 1)"),
    ("past frozen", status_changes, "engine/run.py", "object.__setattr__(job, 'status', 1)"),
    ("jobstate.py, later", status_changes, "jobstate.py", "class Job:\n def end(self): self.status = 7"),
    ("another init", status_changes, "store.py", "class A:\n def __init__(self): self.status = 7"),
    ("spawn", process_starts, "engine/run.py", "import os\nos.posix_spawn('a', [], {})"),
    ("fork", process_starts, "engine/run.py", "from os import fork"),
    ("renamed module", process_starts, "engine/run.py", "import os as o\no.system('a')"),
    ("renamed function", process_starts, "engine/run.py", "from os import execv as e"),
    ("only named", process_starts, "engine/run.py", "import os\nstart = os.posix_spawnp"),
    ("getattr", process_starts, "engine/run.py", "import os\ngetattr(os, 'fork')()"),
    ("asyncio", process_starts, "cli/run.py", "import asyncio\nasyncio.create_subprocess_exec"),
    ("from asyncio", process_starts, "cli/run.py", "from asyncio import create_subprocess_shell"),
    ("asyncio module", process_starts, "cli/run.py", "from asyncio import subprocess"),
    ("from subprocess", process_starts, "cli/run.py", "from subprocess import run"),
    ("loop method", process_starts, "engine/run.py", "loop.subprocess_exec(p, 'a')"),
    ("pool", process_starts, "engine/run.py", "from concurrent.futures import ProcessPoolExecutor"),
    ("other file", process_starts, "schedulers/localish.py", "import subprocess"),
    ("hook of a manager", hook_calls, "producer.py", "self.pm.hooks.on_init(scheduler)"),
    ("handed on", hook_calls, "engine/killer.py", "turn = partial(plugins.fire, 'on_job_killed')"),
    ("hook by name", hook_calls, "producer.py", "hooks.on_init(scheduler)"),
]

RIGHT = [
    ("the door", "engine/lifecycle.py", "job.status = 1\nawait pm.hooks.on_job_killed(a, b)"),
    ("read", "engine/run.py", "if job.status == 3: other = job.status"),
    ("first status", "jobstate.py", "class Job:\n def __init__(self): self.status = 0"),
    ("declared", "job.py", "class Job:\n status: int = 0"),
    ("local", "schedulers/local.py", "import os\nos.posix_spawn('a', [], {})"),
    ("local folder", "schedulers/local/spawn.py", "import subprocess"),
    ("runner", "runners/local.py", "import asyncio\nasyncio.create_subprocess_exec"),
    ("other os", "engine/run.py", "import os\nos.kill(1, 2)\nos.execution = 1\nos.getpid()"),
    ("plugin.py", "plugin.py", "class Plugins:\n async def fire(self, hook): self.hooks.clear()"),
    ("other fork", "calls.py", "options.fork = True\nrunner.system('a')"),
]


@pytest.mark.parametrize("test", RULES, ids=lambda test: test.__name__)
def test_the_example_of_a_rule_breaks_it(test) -> None:
    assert RULES[test](failing_example(test))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [pytest.param(*case[1:], id=case[0]) for case in OTHER_WAYS_TO_BREAK_A_RULE],
)
def test_a_rule_is_not_evaded(rule: Rule, path: str, text: str) -> None:
    assert rule([Source(f"xqute/{path}", text)])


@pytest.mark.parametrize(("path", "text"), [pytest.param(*case[1:], id=case[0]) for case in RIGHT])
def test_what_is_right_is_let_through(path: str, text: str) -> None:
    source = Source(f"xqute/{path}", text)

    assert not [line for rule in RULES.values() for line in rule([source])]
