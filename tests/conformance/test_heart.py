"""How long an event loop was held, told apart from what a busy host makes everybody wait."""

import asyncio
import os
import subprocess
import time

import pytest

from xqute.testing.bench import Births, Heart


def spawn() -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def run() -> None:
    subprocess.run(["true"], check=True)


async def execute() -> None:
    await (await asyncio.create_subprocess_exec("true")).wait()


@pytest.mark.parametrize("how", [spawn, run, execute])
async def test_what_a_spawned_program_waited_for_the_processor_is_counted(how):
    began = time.monotonic()
    with Births() as births:
        for _ in range(10):
            if (execution := how()) is not None:
                await execution

    assert 0 < births.waited < time.monotonic() - began


async def test_what_other_threads_spawn_holds_no_loop():
    with Births() as births:
        await asyncio.to_thread(run)

    assert births.waited == 0
    assert os.posix_spawn.__module__ == "posix"


async def test_a_loop_that_is_held_is_noticed():
    async with Heart() as heart:
        spawn()
        time.sleep(0.2)  # noqa: ASYNC251  that is what is noticed

    assert heart.pause > 0.15
