"""What Slurm is asked, and what its answers mean; the texts are those of Slurm 22.05."""

import os
import re

import pytest

from xqute import Answer, BackendAnswerError, OptionError, Presence, Reason
from xqute.options import JobOptions
from xqute.schedulers.adapter import Limits
from xqute.schedulers.names import find_scheduler
from xqute.schedulers.slurm import SlurmScheduler
from xqute.work import Work

HEAD = "xq|JOBID|ARRAY_JOB_ID|STATE|REASON|NODELIST|TIME_LIMIT|NAME\n"


@pytest.fixture
def slurm(tmp_path):
    for program in SlurmScheduler.programs:
        path = tmp_path / program
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(0o700)

    def slurm(**options):
        paths = {program: str(tmp_path / program) for program in SlurmScheduler.programs}
        return SlurmScheduler(**{**paths, **options})

    return slurm


class AJob:
    """As much of a job as a directive needs."""

    call = Work(("true",), JobOptions())
    next_attempt = 1


def lines(scheduler):
    return list(scheduler.own_directives(AJob()))


def listed(scheduler, *rows):
    return list(scheduler.read_poll(HEAD + "".join(f"xq|{row}\n" for row in rows)))


# Directives


def test_it_is_found_by_its_name() -> None:
    assert find_scheduler("slurm") is SlurmScheduler


def test_options_become_directives(slurm) -> None:
    scheduler = slurm(
        slurm_partition="cpu",
        slurm_gres=["gpu:1", "disk:2"],
        sbatch_exclusive=True,
        slurm_cpus_per_task=4,
        slurm_t="1:00:00",
        slurm_mail_user=None,
        slurm_contiguous=False,
    )

    assert lines(scheduler) == [
        "--no-requeue",
        "--output=/dev/null",
        "--partition=cpu",
        "--gres=gpu:1",
        "--gres=disk:2",
        "--exclusive",
        "--cpus-per-task=4",
        "-t 1:00:00",
    ]
    assert scheduler.directives(AJob())[0] == "#SBATCH --no-requeue"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("a b", '"a b"'),
        ('say "x"', '"say \\"x\\""'),
        ("a\\b", '"a\\\\b"'),
        ("#no", '"#no"'),
        ("$HOME;id", '"$HOME;id"'),
        ("n[1-3],m(2)", "n[1-3],m(2)"),
        ("a=b&c|d", "a=b&c|d"),
    ],
)
def test_a_value_is_quoted_as_sbatch_reads_it(slurm, value, word) -> None:
    assert lines(slurm(slurm_comment=value))[-1] == f"--comment={word}"


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", ["good", "not\ngood"]])
def test_a_value_of_several_lines_is_refused_at_once(slurm, value) -> None:
    with pytest.raises(OptionError, match=r"slurm_comment=.*one line"):
        slurm(slurm_comment=value)


@pytest.mark.parametrize("name", ["slurm_array", "sbatch_a", "slurm_wrap", "slurm_parsable", "slurm_wait"])
def test_what_xqute_does_itself_is_refused(slurm, name) -> None:
    with pytest.raises(OptionError, match="xqute gives this option of sbatch itself"):
        slurm(**{name: "1"})


def test_a_word_that_is_no_option_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(OptionError, match="did you mean 'squeue'"):
        SlurmScheduler(squeu="/bin/true")


def test_a_users_own_word_about_requeueing_and_output_wins(slurm, caplog) -> None:
    scheduler = slurm(slurm_requeue=True, slurm_o="/tmp/%j")

    assert lines(scheduler) == ["--requeue", "-o /tmp/%j"]
    assert "slurm_requeue" in caplog.text


def test_nodes_that_failed_are_avoided_beside_those_of_the_user(slurm) -> None:
    scheduler, job, other = slurm(slurm_exclude="n7,n8"), AJob(), AJob()
    failed = Answer(Presence.GONE, Reason("NODE_FAIL", {"node": "n1"}))

    scheduler._note_node(job, failed)

    assert scheduler.own_directives(job)[-1] == "--exclude=n7,n8,n1"
    assert scheduler.own_directives(other)[-1] == "--exclude=n7,n8"
    assert not [line for line in lines(slurm()) if "exclude" in line]


@pytest.mark.parametrize(
    ("options", "prefix", "name"),
    [
        ({}, "", "xq-ab-1"),
        ({}, "mine ", "mine_xq-ab-1"),
        ({"slurm_job_name": "long/one"}, "", "long_one-xq-ab-1"),
        ({"slurm_J": "no"}, "yes.", "yes.xq-ab-1"),
    ],
)
def test_the_name_of_jobs_has_the_token_at_its_end(slurm, options, prefix, name) -> None:
    scheduler = slurm(**options)
    scheduler.jobprefix = prefix

    assert scheduler.job_name("xq-ab-1") == name
    assert not [line for line in lines(scheduler) if "job" in line.lower() or line.startswith("-J")]


# Submitting


def test_one_script_and_many_are_submitted(slurm, tmp_path) -> None:
    scheduler = slurm()

    assert scheduler.submit_command("/m/1/s", "x") == [
        f"{tmp_path}/sbatch",
        "--parsable",
        "--job-name=x",
        "/m/1/s",
    ]
    assert scheduler.array_command("/m/b", "x", 7)[3:] == ["--array=1-7", "/m/b"]


@pytest.mark.parametrize(
    ("output", "uid"),
    [
        ("17\n", "17"),
        ("17;cluster1\n", "17"),
        ("Welcome to 3 clusters\n\n17\n", "17"),
        ("Submitted batch job 17\n", None),
        ("", None),
        ("<html>503</html>", None),
        ("17 18\n", None),
    ],
)
def test_the_id_is_read_strictly(slurm, output, uid) -> None:
    assert slurm().read_uid(output) == uid
    assert slurm().read_array_uids(output, 2) == (uid and [f"{uid}_1", f"{uid}_2"])


KINDS = ("full", "refused", "passing")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("sbatch: error: invalid partition specified: nowhere", "refused"),
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", "refused"),
        ("sbatch: unrecognized option '--foo'", "refused"),
        ("sbatch: error: Invalid --time specification", "refused"),
        ("sbatch: error: This does not look like a batch script.  The first", "refused"),
        (
            "sbatch: error: Batch job submission failed: Requested node configuration is not available",
            "refused",
        ),
        (
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            "passing",
        ),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller", "passing"),
        ("sbatch: error: Batch job submission failed: Protocol authentication error", "passing"),
        ("sbatch: fatal: Unable to process configuration file", "passing"),
        (
            (
                "sbatch: error: fetch_config: DNS SRV lookup failed\n"
                "sbatch: error: _establish_config_source: failed to fetch config\n"
                "sbatch: fatal: Could not establish a configuration source"
            ),
            "passing",
        ),
        (
            (
                "sbatch: error: get_addr_info: getaddrinfo() failed: Name or service not known: No error\n"
                "sbatch: error: Unable to establish control machine address\n"
                "sbatch: error: Batch job submission failed: No error"
            ),
            "passing",
        ),
        ("sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.", "refused"),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", "full"),
        ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job", "full"),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", "full"),
        ("sbatch: error: Batch job submission failed: Job violates policy (job submit limit, …)", "full"),
        ("bash: fork: retry", ""),
        ("something went wrong", ""),
    ],
)
def test_words_of_a_submission_that_failed_are_told_apart(slurm, said, kind) -> None:
    found = [name for name in KINDS if re.search(getattr(slurm(), name), said)]

    if kind == "refused":
        assert found == ["refused"]
    elif kind:
        assert kind in found
    else:
        assert not found


def test_its_limits_are_read_from_its_configuration(slurm) -> None:
    text = "Configuration data as of 2026-01-01\nKillWait          = 30 sec\nMaxArraySize      = 1001\n"

    assert slurm().read_limits(f"{text}MinJobAge = 300 sec\n") == Limits(1000, 30.0, 300.0)
    assert slurm().read_limits(text) == Limits(1000, 30.0)
    assert slurm().read_limits("") == Limits()
    assert slurm().read_limits("MaxArraySize = 0\n").array == 1


# Asking


def test_many_are_asked_about_by_the_numbers_of_their_arrays_or_by_their_user(slurm) -> None:
    scheduler = slurm()

    few = scheduler.poll_command(["7_1", "7_2", "9"])
    many = scheduler.poll_command([str(number) for number in range(1000)])

    assert "--jobs=7,9" in few
    assert f"--user={os.getuid()}" in many
    assert {"--array", "--all", "--states=all"} <= set(few) & set(many)


def test_the_cluster_that_is_meant_is_named_everywhere(slurm) -> None:
    scheduler = slurm(slurm_clusters="c1")

    for argv in (scheduler.poll_command(["1"]), scheduler.kill_command(["1"]), scheduler.limits_command()):
        assert argv[1] == "--clusters=c1"
    assert "--clusters=c1" in lines(scheduler)


def test_a_queue_is_read(slurm) -> None:
    rows = [
        "8_1|8|RUNNING|None|n1|1:00|pre.xq-ab-1",
        "8_2|8|PENDING|Priority||UNLIMITED|pre.xq-ab-1",
        "9|9|COMPLETING|None|n2|UNLIMITED|a|b",
    ]

    one, two, three = listed(slurm(), *rows)

    assert (one.uid, one.answer.presence, one.name, one.element) == (
        "8_1",
        Presence.RUNNING,
        "pre.xq-ab-1",
        1,
    )
    assert (two.element, two.answer.presence) == (2, Presence.PENDING)
    assert str(two.answer.reason) == "handed to slurm as 8_2: PENDING (Priority)"
    assert (three.uid, three.name, three.element) == ("9", "a|b", 0)


@pytest.mark.parametrize(
    ("state", "limit", "reason"),
    [
        ("CANCELLED", "1:00", Reason("KILLED", {"by": "scancel"})),
        ("TIMEOUT", "1-02:03:04", Reason("TIMEOUT", {"timeout": "93784", "message": "TIMEOUT"})),
        ("TIMEOUT", "30:00", Reason("TIMEOUT", {"timeout": "1800", "message": "TIMEOUT"})),
        ("OUT_OF_MEMORY", "1:00", Reason("OOM")),
        ("NODE_FAIL", "1:00", Reason("NODE_FAIL", {"node": "n3"})),
        ("PREEMPTED", "1:00", Reason("PREEMPTED")),
    ],
)
def test_an_end_has_a_reason(slurm, state, limit, reason) -> None:
    [one] = listed(slurm(), f"9|9|{state}|None|n3|{limit}|name")

    assert one.answer == Answer(Presence.GONE, reason)


@pytest.mark.parametrize(
    ("state", "why", "said"),
    [
        ("COMPLETED", "None", "Slurm says COMPLETED"),
        ("FAILED", "NonZeroExitCode", "Slurm says FAILED (NonZeroExitCode)"),
        ("FAILED", "JobLaunchFailure", "Slurm says FAILED (JobLaunchFailure)"),
    ],
)
def test_an_end_that_is_up_to_the_job_is_told_in_its_words(slurm, state, why, said) -> None:
    [one] = listed(slurm(), f"9|9|{state}|{why}|n3|1:00|name")

    assert one.answer == Answer(Presence.GONE, None, said=said)


def test_a_state_that_nobody_knows_says_nothing(slurm) -> None:
    [one] = listed(slurm(), "9|9|ON_HOLIDAY|None|n3|1:00|name")

    assert one.answer.presence is Presence.UNKNOWN


def test_only_a_whole_table_is_an_answer(slurm) -> None:
    banner = "CLUSTER: c1\nMaintenance | on Monday\n3\n\n"

    assert [one.uid for one in slurm().read_poll(f"{banner}{HEAD}xq|9|9|RUNNING|None|n1|1:00|x\nxq|1")] == [
        "9"
    ]
    assert list(slurm().read_poll(HEAD)) == []
    for garbage in ("", banner, "<html>busy</html>", "xq|9|9|RUNNING|None|n1|1:00|x\n"):
        with pytest.raises(BackendAnswerError):
            list(slurm().read_poll(garbage))


def test_an_accounting_is_asked_where_there_is_one(slurm) -> None:
    without, with_one = slurm(), slurm()
    with_one.read_limits("AccountingStorageType   = accounting_storage/slurmdbd\n")
    ended = "9|TIMEOUT|n1|00:01:00|0:0\n10_2|CANCELLED by 0|None assigned|UNLIMITED|0:0\n"
    failed = "13|FAILED|n1|UNLIMITED|0:9\n"
    waited = "12_[1-2,5%2]|CANCELLED by 0|None assigned|UNLIMITED|0:0\n"
    text = f"{ended}11|RUNNING|n1|UNLIMITED|0:0\nbanner\n{failed}{waited}"

    assert without.account_command(["9"]) is None
    argv = with_one.account_command(["9", "10_2"])
    assert {"--jobs=9,10", "--starttime=now-30days"} <= set(argv)
    nine, ten, eleven, thirteen, *twelve = with_one.read_account(text)
    assert nine.answer.reason.detail["timeout"] == "60"
    assert ten.answer.reason == Reason("KILLED", {"by": "scancel by 0"})
    assert eleven.answer.presence is Presence.RUNNING
    assert (thirteen.answer.reason, thirteen.answer.said) == (None, "Slurm says FAILED (exit code 0:9)")
    assert [one.uid for one in twelve] == ["12_1", "12_2", "12_5"]
    assert {one.answer.reason.code for one in twelve} == {"KILLED"}


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("slurm_load_jobs error: Invalid job id specified", False),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", True),
    ],
)
def test_an_unknown_id_is_told_from_an_unknown_answer(slurm, said, known) -> None:
    assert (slurm().unknown.search(said) is None) is known


# Killing


def test_elements_are_cancelled_in_ranges(slurm) -> None:
    argv = slurm().kill_command(["7_3", "7_1", "12", "7_2", "7_9", "8_1"])

    assert argv[1:] == ["12", "7_[1-3,9]", "8_[1]"]


def test_its_commands_do_not_see_what_the_manager_was_told(slurm, monkeypatch) -> None:
    scheduler = slurm()

    assert scheduler.foreign_env == ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SCONTROL_")
    assert "SLURM_CONF" in scheduler.kept_env
