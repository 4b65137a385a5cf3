"""The document the public API comes from: every block of it works as written there.

Its one misspelling is mended, and what it leaves open (`...`, `MyJob` before it is defined, the Grid
Engine scheduler, which is not there yet) is filled in or left out by name, here and nowhere else.
"""

import asyncio
import re
from pathlib import Path

import pytest

from xqute import Job, Scheduler, Xqute, simplug

DOCUMENT = Path(__file__).with_name("data") / "seed_document.txt"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)


def block(fragment: str) -> str:
    [found] = [text for text in BLOCKS if fragment in text]
    return found


def test_the_document_has_the_blocks_that_are_tested_here():
    tested = [
        "asyncio.run(main())",
        "xqute = Xqute(...)",
        "await xqute.push(['echo', 1])\n",
        "'sge'",
        "pm = Simplug('xqute')",
        "@pm.impl",
        "class MyScheduler",
        "class MyJob",
    ]

    left = [text for text in BLOCKS if not any(fragment in text for fragment in tested)]

    assert left == []


def test_the_toy_example_runs_as_a_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    exec(compile(block("asyncio.run(main())"), "toy", "exec"), {"__name__": "__main__"})

    outputs = [Path(f".xqute/{id_}/job.stdout").read_text() for id_ in (1, 2)]
    assert outputs == ["1\n", "2\n"]


async def test_every_documented_constructor_argument_is_taken(tmp_path):
    xqute = Xqute(
        scheduler="local",
        job_metadir=tmp_path / ".xqute",
        job_error_strategy="retry",
        job_num_retries=1,
        scheduler_forks=2,
    )

    await xqute.push(["echo", 1])

    assert (await xqute.run_until_complete()).ok


def test_both_ways_to_fetch_the_plugin_manager_give_the_same(tmp_path):
    scope: dict = {}

    exec(block("pm = Simplug('xqute')"), scope)

    assert scope["pm"] is simplug
    assert scope["Simplug"]("xqute") is simplug


async def test_the_documented_hook_can_be_implemented_and_is_called(tmp_path):
    called = []
    scope = {"pm": simplug, "called": called}
    exec(block("@pm.impl").replace("...", "called.append(scheduler.name)"), scope)
    plugin = type("plugin", (), {"on_init": scope["on_init"]})
    xqute = Xqute(job_metadir=tmp_path, plugins=[plugin])

    await xqute.push(["true"])
    await xqute.run_until_complete()

    assert called == ["local"]


HOOKS = {
    name: tuple(args.split(", "))
    for name, args in re.findall(r"- `(on_\w+)\(([^)]*)\)`", DOCUMENT.read_text())
}


async def test_the_ten_documented_hooks_are_called_with_their_documented_arguments(tmp_path):
    called = {}

    def implementation(name, args):
        source = f"async def {name}({', '.join(args)}):\n    called[{name!r}] = ({', '.join(args)},)\n"
        scope = {"called": called}
        exec(source, scope)
        return simplug.impl(scope[name])

    plugin = type("recorder", (), {name: implementation(name, args) for name, args in HOOKS.items()})
    xqute = Xqute(job_metadir=tmp_path, plugins=[plugin], scheduler_forks=3)
    good = await xqute.push(["true"])
    bad = await xqute.push(["false"])
    slow = await xqute.push(["sleep", "60"])

    async with xqute:
        await asyncio.gather(good, bad, return_exceptions=True)
        await slow.kill()

    assert len(HOOKS) == 10
    assert set(called) == set(HOOKS)
    assert called["on_shutdown"] == (xqute.scheduler, xqute)
    assert called["on_job_succeeded"] == (xqute.scheduler, good)
    assert called["on_job_failed"] == (xqute.scheduler, bad)
    assert called["on_job_killed"] == (xqute.scheduler, slow)


async def test_a_plain_function_works_as_a_hook_and_warns(tmp_path):
    called = []

    class Plugin:
        @simplug.impl
        def on_job_succeeded(self, scheduler, job):
            called.append(job.id)

    with pytest.warns(Warning, match="Sync implementation"):
        xqute = Xqute(job_metadir=tmp_path, plugins=[Plugin()])
    await xqute.push(["true"])
    await xqute.run_until_complete()

    assert called == [1]


OWN_SCRIPT = """#!/bin/bash
trap 'rc=$?; echo $rc > {rc}; if [ $rc = 0 ]; then echo {done} > {status}; else echo {failed} > {status}; fi
rm -f {lock}' EXIT
echo {running} > {status}
{command} > {out} 2> {err}
"""


@pytest.mark.parametrize(
    ("words", "command", "ended"),
    [
        (("RUNNING", "FINISHED", "FAILED"), "echo hello", "hello"),
        ((4, 6, 7), "echo hello", "hello"),
        (("RUNNING", "FINISHED", "FAILED"), "exit 3", None),
        ((4, 6, 7), "exit 3", None),
    ],
    ids=["words", "numbers", "words-fail", "numbers-fail"],
)
async def test_a_scheduler_and_a_job_of_ones_own_work_as_documented(tmp_path, words, command, ended):
    running, done, failed = words
    submit, kill, ask = (text.strip("\n") for text in METHODS)
    scope = {"Job": Job, "Scheduler": Scheduler, "asyncio": asyncio, "template": OWN_SCRIPT}
    exec(
        block("class MyJob")
        .replace("from xqute import Job", "")
        .replace(
            "        ...",
            f"""
        return template.format(rc=self.rc_file, status=self.status_file, lock=self.lock_file,
            out=self.stdout_file, err=self.stderr_file, command=self.cmd,
            running={running!r}, done={done!r}, failed={failed!r})""",
        ),
        scope,
    )
    source = block("class MyScheduler")
    for documented, written in zip(re.findall(r'"""[^"]*"""', source), (submit, kill, ask), strict=True):
        source = source.replace(documented, f"{documented}\n{written}")
    exec(source, scope)
    scheduler = scope["MyScheduler"]
    scheduler.poll_seconds = scheduler.grace_seconds = 0.2
    xqute = Xqute(scheduler, job_metadir=tmp_path)

    job = await xqute.push(command)
    await xqute.run_until_complete()

    assert type(job).__name__ == "MyJob"
    assert job.rc == (0 if ended else 3)
    assert not job.lock_file.exists()
    assert (tmp_path / "1" / "job.wrapped.my").stat().st_mode & 0o777 == 0o700
    if ended:
        assert await job == ended


METHODS = (
    """
        script = await job.wrapped_script(self)
        process = await asyncio.create_subprocess_exec(str(script), start_new_session=True)
        self.processes = {**getattr(self, "processes", {}), process.pid: process}
        return process.pid
""",
    """
        self.processes[int(job.lock_file.read_text())].terminate()
""",
    """
        return self.processes[int(job.uid)].returncode is None
""",
)


async def test_the_lock_file_holds_the_uid_and_a_newline_while_the_job_is_there(tmp_path):
    seen = []

    class Reader:
        @simplug.impl
        async def on_job_submitted(self, scheduler, job):
            seen.append((job.lock_file.read_text(), job.uid))

    xqute = Xqute(job_metadir=tmp_path, plugins=[Reader()])
    job = await xqute.push(["sleep", "0.2"])
    await xqute.run_until_complete()

    assert seen == [(f"{job.uid}\n", job.uid)]
    assert not job.lock_file.exists()
