"""Misspelt options of `sbatch` and `qsub` are refused at once; those of plugins and of tomorrow are not."""

import pytest

from xqute import OptionError
from xqute.options import JobOptions, apply_options
from xqute.schedulers.names import make_scheduler
from xqute.schedulers.sge import SgeScheduler
from xqute.schedulers.slurm import SlurmScheduler
from xqute.schedulers.spelling import QSUB, SBATCH


@pytest.mark.parametrize(
    ("given", "meant", "page"),
    [
        ("slurm_tme", "slurm_time", "https://slurm.schedmd.com/sbatch.html"),
        ("sbatch_partion", "sbatch_partition", "https://slurm.schedmd.com/sbatch.html"),
        ("slurm_cpu_per_tasks", "slurm_cpus_per_task", "https://slurm.schedmd.com/sbatch.html"),
        ("slurm_cpu-per-task", "slurm_cpus_per_task", "https://slurm.schedmd.com/sbatch.html"),
        ("sge_notfy", "sge_notify", "`man qsub`"),
        ("qsub_hold_jib", "qsub_hold_jid", "`man qsub`"),
    ],
)
def test_a_misspelt_option_is_refused_with_the_one_that_was_meant(given, meant, page):
    scheduler = SlurmScheduler if page.startswith("http") else SgeScheduler

    with pytest.raises(OptionError) as error:
        scheduler(**{given: "x"})

    program = "sbatch" if scheduler is SlurmScheduler else "qsub"
    assert str(error.value) == (
        f"{given!r}: {program} has no such option: did you mean {meant!r}? See {page}"
    )


@pytest.mark.parametrize(
    ("scheduler", "natives"), [(SlurmScheduler, SBATCH), (SgeScheduler, QSUB)], ids=["slurm", "sge"]
)
def test_every_option_that_the_program_has_may_be_given(scheduler, natives):
    for name in natives.names:
        for prefix in scheduler.option_prefixes:
            assert scheduler.check_options({prefix + name.replace("-", "_"): "1", prefix + name: "1"})


@pytest.mark.parametrize("name", ["slurm_p", "slurm_part", "slurm_x11", "slurm_bee_hive", "slurm_cont"])
def test_short_names_beginnings_and_what_only_a_plugin_knows_are_left_to_the_program(name):
    assert SlurmScheduler.check_options({name: "1"}) == {name: "1"}


@pytest.mark.parametrize(
    ("mine", "option", "other"),
    [("local", "slurm_time", "slurm"), ("slurm", "sge_l", "sge"), ("sge", "sbatch_p", "slurm")],
)
def test_an_option_of_another_scheduler_is_refused_as_such(mine, option, other):
    with pytest.raises(
        OptionError, match=f"^'{option}' is an option of scheduler '{other}', and this is '{mine}'"
    ):
        make_scheduler(mine, {option: "1"}, ["mem", "time"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("slurm_mem", r"for one job or task say mem=, which holds at every scheduler"),
        ("slurm_tme", r"for one job or task say cpus=, mem=, gpus= or time="),
        ("sge_l", r"for one job or task say cpus=, mem=, gpus= or time="),
    ],
)
def test_a_push_with_an_option_of_a_scheduler_says_where_it_goes_and_what_a_job_takes(given, told):
    with pytest.raises(OptionError, match=rf"^'{given}' is an option of Xqute\(…\).*{told}"):
        apply_options(JobOptions(), {given: "1"})
