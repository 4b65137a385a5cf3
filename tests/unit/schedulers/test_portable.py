"""Resources by the names that are the same everywhere become the options of each scheduler."""

import pytest

from xqute.errors import OptionError
from xqute.schedulers.portable import GRID_ENGINE, SLURM, lines, natives_of

AMOUNTS = {"cpus": 4.0, "mem": 8 * 2.0**30, "gpus": 2.0, "time": 3661.0}


def test_slurm_is_asked_in_its_own_words():
    assert list(lines(AMOUNTS, SLURM, {})) == [
        "--cpus-per-task=4",
        "--mem=8192M",
        "--gres=gpu:2",
        "--time=1:01:01",
    ]


def test_grid_engine_is_asked_in_its_own_words():
    assert list(lines(AMOUNTS, GRID_ENGINE, {})) == [
        "-pe smp 4",
        "-l h_vmem=8192M",
        "-l gpu=2",
        "-l h_rt=1:01:01",
    ]


def test_one_cpu_is_what_every_job_has_anyway():
    assert list(lines({"cpus": 1.0}, SLURM, {"partition": "slurm_partition='cpu'"})) == []


@pytest.mark.parametrize(
    ("table", "given", "amounts"),
    [
        (SLURM, ("slurm_mem", "2G"), {"mem": 1.0}),
        (SLURM, ("slurm_mem_per_cpu", "2G"), {"mem": 1.0}),
        (SLURM, ("sbatch_c", "2"), {"cpus": 2.0}),
        (GRID_ENGINE, ("sge_l", "gpu=1,h_rt=60"), {"time": 60.0}),
        (GRID_ENGINE, ("qsub_pe", "mpi 4"), {"cpus": 2.0}),
    ],
)
def test_what_is_said_twice_is_an_error_that_names_both(table, given, amounts):
    own = natives_of(dict([given]), ("slurm_", "sbatch_", "sge_", "qsub_"))
    with pytest.raises(OptionError) as raised:
        list(lines(amounts, table, own))

    assert str(raised.value) == f"{next(iter(amounts))}= and {given[0]}={given[1]!r} both say it: give one"


def test_a_resource_that_the_scheduler_has_not_is_an_error():
    with pytest.raises(OptionError, match="'licence' is not known"):
        list(lines({"licence": 1.0}, SLURM, {}))
