"""What jobs ask a cluster for is refused where a user says it: in `Xqute(…)` or in `push`."""

import asyncio

import pytest

from tests.faults.batch.jobs import SECONDS
from tests.waiting import until
from xqute import OptionError, Xqute, cmd, task

#: For each kind of cluster: what is said twice, and its own option.
TWICE = [
    pytest.param({"mem": "1G"}, {"slurm": ("slurm_mem", "4G"), "sge": ("sge_l", "h_vmem=4G")}, id="mem"),
    pytest.param({"time": "2h"}, {"slurm": ("slurm_time", "1:0:0"), "sge": ("qsub_l", "h_rt=60")}, id="time"),
    pytest.param({"cpus": 2}, {"slurm": ("slurm_c", 2), "sge": ("sge_pe", "mpi 2")}, id="cpus"),
]


def what_says_both(ours, own):
    return f"^{next(iter(ours))}= and {own[0]}={own[1]!r} both say it: give one$"


@task(mem="1G")
def eats():
    """Ask for memory."""


@pytest.mark.parametrize(("ours", "own"), TWICE)
async def test_what_is_said_twice_of_all_jobs_is_refused_before_there_is_a_run(
    make, batch, tmp_path, ours, own
):
    own = own[batch.name]
    scheduler = make(**dict([own])).scheduler

    with pytest.raises(OptionError, match=what_says_both(ours, own)):
        Xqute(scheduler, job_metadir=tmp_path / "other", store="memory://", **ours)


@pytest.mark.parametrize(("ours", "own"), TWICE)
async def test_what_is_said_twice_of_one_job_is_refused_when_it_is_pushed(make, batch, ours, own):
    own = own[batch.name]
    xq = make(**dict([own]))

    with pytest.raises(OptionError, match=what_says_both(ours, own)):
        await xq.push(["true"], **ours)
    assert list(xq.jobs) == []


async def test_what_a_task_in_a_tree_says_twice_is_refused_with_the_tree(make, batch):
    own = {"slurm": ("slurm_mem_per_cpu", "4G"), "sge": ("sge_l", "h_vmem=4G")}[batch.name]
    xq = make(**dict([own]))

    with pytest.raises(OptionError, match=what_says_both({"mem": ""}, own)):
        await xq.push(cmd("echo", eats()))
    assert list(xq.jobs) == []


async def test_what_a_cluster_has_not_is_refused_when_it_is_pushed(make):
    with pytest.raises(OptionError, match="'licence' is not known to this scheduler: known are cpus, mem"):
        await make().push(["true"], resources={"licence": 1})


async def test_a_path_of_a_command_that_is_none_is_refused_at_once(make, batch):
    with pytest.raises(OptionError, match=rf"^{batch.submit}='/no/such/program' is no program that can be"):
        make(**{batch.submit: "/no/such/program"})


async def test_a_command_that_vanishes_is_waited_for_and_said_where_it_was_given(
    make, batch, shims, tmp_path
):
    xq = make(**shims('exec "$real" "$@"', batch.submit))
    shim, away = tmp_path / batch.submit, tmp_path / "away"
    shim.rename(away)
    job = await xq.push(["true"])
    async with asyncio.timeout(SECONDS), xq:
        await until(lambda: job.reason.code == "SCHEDULER_DOWN")
        said = str(job.reason)
        away.rename(shim)
        await job

    assert f"{batch.submit}='{shim}' is no program that can be run here" in said
