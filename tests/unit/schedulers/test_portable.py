"""Resources by the names that are the same everywhere become the options of each scheduler."""

import pytest

from xqute.errors import OptionError
from xqute.schedulers.portable import GRID_ENGINE, SLURM, lines

AMOUNTS = {"cpus": 4.0, "mem": 8 * 2.0**30, "gpus": 2.0, "time": 3661.0}


def test_slurm_is_asked_in_its_own_words():
    assert list(lines(AMOUNTS, SLURM, [])) == [
        "--cpus-per-task=4",
        "--mem=8192M",
        "--gres=gpu:2",
        "--time=1:01:01",
    ]


def test_grid_engine_is_asked_in_its_own_words():
    assert list(lines(AMOUNTS, GRID_ENGINE, [])) == [
        "-pe smp 4",
        "-l h_vmem=8192M",
        "-l gpu=2",
        "-l h_rt=1:01:01",
    ]


def test_one_cpu_is_what_every_job_has_anyway():
    assert list(lines({"cpus": 1.0}, SLURM, [("partition", "cpu")])) == []


@pytest.mark.parametrize(
    ("table", "given", "amounts"),
    [
        (SLURM, ("mem", "2G"), {"mem": 1.0}),
        (SLURM, ("c", "2"), {"cpus": 2.0}),
        (GRID_ENGINE, ("l", "gpu=1,h_rt=60"), {"time": 60.0}),
        (GRID_ENGINE, ("pe", "mpi 4"), {"cpus": 2.0}),
    ],
)
def test_what_is_said_twice_is_an_error_that_names_both(table, given, amounts):
    with pytest.raises(OptionError) as raised:
        list(lines(amounts, table, [given]))

    assert next(iter(amounts)) in str(raised.value)
    assert given[0] in str(raised.value)


def test_a_resource_that_the_scheduler_has_not_is_an_error():
    with pytest.raises(OptionError, match="'licence' is not known"):
        list(lines({"licence": 1.0}, SLURM, []))
