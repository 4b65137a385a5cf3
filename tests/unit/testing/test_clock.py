"""Virtual time: in the right order, with exact numbers, and never hanging."""

import asyncio
import signal
import time
from functools import partial

import pytest

from xqute.testing.clock import BOOT_TIME, UPTIME_SECONDS, AutojumpLoop, Stalled, clock_time


def run(main):
    with asyncio.Runner(loop_factory=AutojumpLoop) as runner:
        return runner.run(main)


def test_hours_pass_in_no_time_and_exactly():
    async def main():
        await asyncio.sleep(3600 * 24 * 7)
        return asyncio.get_running_loop().time()

    begun = time.monotonic()

    assert run(main()) == UPTIME_SECONDS + 3600 * 24 * 7
    assert time.monotonic() - begun < 1


def test_timers_ring_in_their_order():
    async def main():
        rung = []
        waits = (asyncio.sleep(after) for after in (3, 1, 2))
        for done in asyncio.as_completed([_named(wait) for wait in waits]):
            await done
            rung.append(asyncio.get_running_loop().time() - UPTIME_SECONDS)
        return rung

    assert run(main()) == [1, 2, 3]


async def _named(wait):
    await wait


def test_a_timeout_is_virtual_too():
    async def main():
        async with asyncio.timeout(60):
            await asyncio.sleep(61)

    with pytest.raises(TimeoutError):
        run(main())


def test_what_is_ready_runs_before_the_clock_jumps():
    async def main():
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert run(main()) == UPTIME_SECONDS


def test_waiting_for_nothing_is_an_error_and_names_who_waits():
    async def main():
        asyncio.current_task().set_name("the one who waits")
        await asyncio.Event().wait()

    with pytest.raises(Stalled, match="the one who waits"):
        run(main())


def test_being_busy_for_ever_is_an_error_at_the_horizon():
    async def main():
        while True:  # noqa: ASYNC110  that is the point
            await asyncio.sleep(2)

    runner = asyncio.Runner(loop_factory=partial(AutojumpLoop, horizon=3600))
    with runner, pytest.raises(Stalled, match="horizon"):
        runner.run(main())


def test_the_wall_clock_goes_with_virtual_time():
    async def main():
        before = clock_time()
        await asyncio.sleep(100)
        return before, clock_time()

    before, after = run(main())

    assert before == BOOT_TIME + UPTIME_SECONDS
    assert after - before == 100


def test_work_for_a_thread_is_done_at_once():
    async def main():
        return await asyncio.to_thread(sum, [1, 2]), asyncio.get_running_loop().time()

    assert run(main()) == (3, UPTIME_SECONDS)


def test_work_for_a_thread_that_raises_raises():
    async def main():
        await asyncio.to_thread(int, "no number")

    with pytest.raises(ValueError, match="no number"):
        run(main())


def test_signals_arrive():
    async def main():
        heard = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
        signal.raise_signal(signal.SIGUSR1)
        await heard.wait()

    run(main())


def test_a_jump_lets_time_pass_as_sleep_of_the_machine_does():
    async def main():
        loop = asyncio.get_running_loop()
        sleeping = asyncio.ensure_future(asyncio.sleep(10))
        await asyncio.sleep(0)
        loop.jump(3600)
        await sleeping
        return loop.time()

    assert run(main()) == UPTIME_SECONDS + 3600
