"""What a program that ends says of its jobs: once, and with the cause that is the right one."""

import re

import pytest

ONE_FAILED = "1 job(s) failed: job 1 (exit 5): EXIT 5; `xqute why` tells more"
NOT_WAITED = (
    "run RUN ended with its program, which did not wait: 1 of 2 jobs have not ended well; "
    "Xqute(resume=True) or `xqute resume RUN` goes on with it"
)
DID_NOT_RUN = (
    "so they did not run; they are kept there. "
    "Call `await xqute.run_until_complete()` before the program ends"
)


@pytest.fixture
def said(start, here):
    """What a program says on stderr; the ids of its runs are left out."""

    def run(source: str) -> list[str]:
        code, rest = start(source).ended()
        assert code == 0, rest
        return [re.sub(r"\b[0-9a-f]{8}\b", "RUN", line) for line in rest.splitlines()]

    return run


def test_a_failure_that_nobody_asked_about_is_told_where_nobody_takes_the_report(said):
    assert said("""
async def main():
    xqute = Xqute(job_metadir=META)
    await xqute.push("exit 5")
    await xqute.run_until_complete()
asyncio.run(main())
""") == [ONE_FAILED]


def test_a_report_that_is_there_at_the_end_and_was_never_looked_at_tells_then(said):
    assert said("""
async def main():
    xqute = Xqute(job_metadir=META)
    await xqute.push("exit 5")
    return await xqute.run_until_complete()
report = asyncio.run(main())
print("done", file=sys.stderr, flush=True)
""") == ["done", ONE_FAILED]


def test_a_program_that_asks_its_report_is_told_nothing(said):
    assert (
        said("""
async def main():
    xqute = Xqute(job_metadir=META)
    await xqute.push("exit 5")
    assert not (await xqute.run_until_complete()).ok
asyncio.run(main())
""")
        == []
    )


def test_a_program_that_awaits_some_jobs_is_told_at_its_end_that_another_failed(said):
    assert said("""
async def main():
    xqute = Xqute(job_metadir=META)
    await xqute.push("exit 5")
    await (await xqute.push("echo"))
asyncio.run(main())
""") == [ONE_FAILED]


def test_a_job_that_is_pushed_when_the_loop_is_run_step_by_step_and_never_awaited_is_told_of(said):
    assert said("""
with asyncio.Runner() as runner:
    async def make():
        return Xqute(job_metadir=META)
    async def end(job):
        return await job
    xqute = runner.run(make())
    runner.run(end(runner.run(xqute.push("echo a"))))
    runner.run(xqute.push("sleep 60"))
""") == [NOT_WAITED]


def test_jobs_that_were_pushed_and_never_awaited_are_told_of(said, tmp_path):
    assert said("""
async def main():
    await Xqute(job_metadir=META).push_many(["echo a", "echo b"])
asyncio.run(main())
""") == [f"2 job(s) in {tmp_path}/meta were pushed and never awaited, {DID_NOT_RUN}"]


STOPPED = """
async def main():
    async with Xqute(job_metadir=META) as xqute:
        xqute.request_stop("enough")
        await xqute.run_until_complete()
        job = await xqute.push("echo")
        {}
asyncio.run(main())
"""


def test_who_awaited_a_job_of_a_stopped_run_was_told_why_it_did_not_run(said):
    wait = """try:
            await job
        except Exception as exc:
            print(type(exc).__name__, file=sys.stderr)"""

    assert said(STOPPED.format(wait)) == ["Halted"]


def test_who_pushed_to_a_stopped_run_is_told_that_it_was(said, tmp_path):
    assert said(STOPPED.format("")) == [
        f"1 job(s) in {tmp_path}/meta were pushed when the run had been stopped (enough), {DID_NOT_RUN}"
    ]


def test_a_run_that_was_cancelled_when_all_its_jobs_had_ended_was_not_interrupted(said):
    assert said("""
async def main():
    async with asyncio.timeout(30) as bound:
        async with Xqute(job_metadir=META) as xqute:
            job = await xqute.push("exit 5")
            async for ended in xqute.as_completed([job]):
                assert ended.exception() is not None
            bound.reschedule(0)
            await asyncio.Event().wait()
try:
    asyncio.run(main())
except TimeoutError:
    print("late", file=sys.stderr)
""") == ["late"]
