"""What the scheduler of Grid Engine asks, and what it reads: the texts are those of 8.1.9."""

import shlex
import subprocess
from pathlib import Path

import pytest

from xqute.errors import BackendAnswerError, BackendUnavailable, OptionError
from xqute.schedulers.adapter import Limits
from xqute.schedulers.names import make_scheduler
from xqute.schedulers.sge import SgeScheduler
from xqute.states import Answer, Presence, Reason
from xqute.testing import Bench

QSTAT = """<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>2</JB_job_number>
      <JAT_prio>0.25000</JAT_prio>
      <JB_name>xq-ab-1</JB_name>
      <JB_owner>root</JB_owner>
      <state>dr</state>
      <JAT_start_time>2026-11-21T16:40:24</JAT_start_time>
      <queue_name>all.q@localhost</queue_name>
      <slots>1</slots>
      <tasks>3</tasks>
    </job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>12</JB_job_number>
      <JAT_prio>0.00000</JAT_prio>
      <JB_name>xq-ab-2</JB_name>
      <JB_owner>root</JB_owner>
      <state>%s</state>
      <JB_submission_time>2026-11-21T16:43:21</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>%s
    </job_list>
  </job_info>
</job_info>
"""

QACCT = """==============================================================
qname        all.q
hostname     localhost
jobname      xq-ab-1
jobnumber    21
taskid       %s
qsub_time    Sat Nov 21 16:43:58 2026
failed       %s
exit_status  %s
ru_wallclock 9s
maxvmem      %s
category     %s
"""

HARD = "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit"


@pytest.fixture
def programs(tmp_path):
    """The options that name the commands, which are there."""
    (tmp_path / "bin").mkdir()
    paths = {name: tmp_path / "bin" / name for name in SgeScheduler.programs}
    for path in paths.values():
        path.touch(mode=0o700)
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture
def sge(programs):
    return SgeScheduler(**programs)


@pytest.fixture
async def lines(tmp_path):
    """The directives of a job, without their beginning."""

    async def lines(**options):
        scheduler = SgeScheduler(**options)
        job = await Bench(scheduler, tmp_path).exiting(0)
        found = scheduler.directives(job)
        assert all(line.startswith("#$ -") for line in found)
        return [line.removeprefix("#$ ") for line in found]

    return lines


def words(argv):
    return shlex.join(argv).replace(f"{argv[0].rpartition('/')[0]}/", "", 1)


# What the user's options become


async def test_the_options_of_the_documentation_become_directives(lines):
    found = await lines(sge_q="1-day", sge_l=["h_vmem=2G", "gpu=1"], qsub_pe="smp 4", sge_V=True, sge_m=False)

    assert [line for line in found if line.split()[0] in {"-q", "-l", "-pe", "-V", "-m"}] == [
        *("-q 1-day", "-l h_vmem=2G", "-l gpu=1", "-pe smp 4", "-V"),
    ]


async def test_a_job_leaves_no_files_and_is_not_started_again_and_is_asked_before_it_is_killed(lines):
    assert await lines() == ["-S /bin/sh", "-r n", "-notify", "-wd /", "-o /dev/null", "-e /dev/null"]


@pytest.mark.parametrize(
    ("given", "out", "into"),
    [
        ({"sge_o": "/logs"}, "-o /dev/null", "-o /logs"),
        ({"sge_cwd": True}, "-wd /", "-cwd"),
        ({"qsub_wd": "/work"}, "-wd /", "-wd /work"),
        ({"sge_notify": False}, "-notify", ""),
        ({"sge_S": "/bin/bash"}, "-S /bin/sh", "-S /bin/bash"),
    ],
)
async def test_the_users_own_word_counts_more(lines, given, out, into):
    found = await lines(**given)

    assert out not in found
    assert not into or into in found


@pytest.mark.parametrize("value", ["a\nb", ["ok", "a\nb"], "a\0b", "a\rb"])
def test_a_value_that_is_no_line_is_refused(value):
    with pytest.raises(OptionError, match="sge_l="):
        SgeScheduler(sge_l=value)


@pytest.mark.parametrize("name", ["sge_t", "qsub_terse", "sge_sync", "sge_C"])
def test_what_xqute_says_itself_is_refused(name):
    with pytest.raises(OptionError, match=f"{name.partition('_')[2]}: xqute gives this"):
        SgeScheduler(**{name: "1-3"})


def test_it_is_known_by_its_name_and_guesses_what_was_meant(programs):
    assert isinstance(make_scheduler("sge", {**programs, "sge_q": "1-day"}, ()), SgeScheduler)
    with pytest.raises(OptionError, match="qstat"):
        make_scheduler("sge", {"qstatt": "x"}, ())


def test_usr1_ends_a_job_only_where_a_soft_limit_was_asked_for():
    plain, soft, silent = SgeScheduler(), SgeScheduler(sge_l="mem=2G,s_rt=60"), SgeScheduler(sge_notify=False)

    assert (plain.asked_by, plain.ignored) == (("USR2",), ("USR1",))
    assert (soft.asked_by, soft.ignored) == (("USR1", "USR2"), ())
    assert (silent.asked_by, silent.ignored) == ((), ())


def test_a_job_that_may_be_started_again_is_warned_about(caplog):
    SgeScheduler(sge_r="y")
    assert "leaves at once" in caplog.text


def test_names_are_such_as_it_takes(sge, programs):
    sge.jobprefix = "7 things/"
    named = SgeScheduler(sge_N="mine", **programs)

    assert sge.job_name("xq-ab-1") == "j7_things_xq-ab-1"
    assert named.job_name("xq-ab-1") == "mine-xq-ab-1"
    assert "-N mine" not in named.own_directives(None)


# Submitting


def test_a_script_is_submitted_under_its_name(sge):
    assert words(sge.submit_command("/m/1/job", "xq-ab-1")) == "qsub -terse -N xq-ab-1 /m/1/job"
    assert words(sge.array_command("/m/b", "xq-ab-1", 5)) == "qsub -terse -N xq-ab-1 -t 1-5 /m/b"


@pytest.mark.parametrize(
    ("output", "uid"),
    [
        ("7\n", "7"),
        ("Welcome!\n12 users\n7\n", "7"),
        ("7.1-5:1\n", None),
        ("", None),
        ("Your job 7", None),
    ],
)
def test_the_id_of_a_job_is_read(sge, output, uid):
    assert sge.read_uid(output) == uid


def test_the_ids_of_an_array_are_read(sge):
    assert sge.read_array_uids("hello\n7.1-3:1\n", 3) == ["7.1", "7.2", "7.3"]
    assert sge.read_array_uids("7.1-2:1\n", 3) is None
    assert sge.read_array_uids("7\n", 3) is None


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ('Unable to run job: unknown resource "nosuch"\nExiting.', "refused"),
        ('Unable to run job: Job was rejected because job requests unknown queue "x"\nExiting.', "refused"),
        ('qsub: invalid option argument "-bogus"', "refused"),
        ("Unable to run job: job rejected: only 2 jobs are allowed per user (current job count: 2)", "full"),
        ("Unable to run job: job rejected: only 2 jobs are allowed per cluster", "full"),
        (
            'Unable to run job: unable to send message to qmaster using port 1 on host "localhost"',
            "unclear",
        ),
        ("error: commlib error: got select error (Connection refused)", "unclear"),
        ("Unable to run job: Error reading answer list from qmaster", "unclear"),
        ("critical error: Please set the environment variable SGE_ROOT.", "unclear"),
        ("Segmentation fault", "unclear"),
    ],
)
def test_the_words_of_a_failed_submission_are_told_apart(sge, said, means):
    found = "unclear"
    if sge.full.search(said):
        found = "full"
    elif sge.refused.search(said) and not sge.passing.search(said):
        found = "refused"

    assert found == means


@pytest.mark.parametrize(
    ("output", "limits"),
    [
        ("#global:\nmax_aj_instances 2000\nmax_aj_tasks   50\nqname a\nnotify   00:00:05\n", Limits(50, 5)),
        ("max_aj_tasks 75000\nnotify 00:00:05\nqname b\nnotify   00:01:00\n", Limits(1000, 60)),
        ("max_aj_tasks 0\n", Limits(1000, 60)),
    ],
)
def test_the_limits_of_the_cluster_are_read(sge, output, limits):
    assert sge.read_limits(output) == limits


def test_without_qconf_nothing_is_asked_about_limits(programs):
    assert SgeScheduler(**{**programs, "qconf": ""}).limits_command() is None


# Asking


def test_all_jobs_of_the_user_are_asked_about(sge):
    assert words(sge.poll_command(["1", "2.3"])) == "qstat -xml -u '$user'"


@pytest.mark.parametrize(
    ("tasks", "uids"),
    [
        ("", ["12"]),
        ("\n      <tasks>4</tasks>", ["12.4"]),
        ("\n      <tasks>1-3:1</tasks>", ["12.1", "12.2", "12.3"]),
        ("\n      <tasks>1,3,5-9:2</tasks>", ["12.1", "12.3", "12.5", "12.7", "12.9"]),
    ],
)
def test_the_list_of_jobs_is_read(sge, tasks, uids):
    running, *waiting = sge.read_poll(f"Monday: <b>no work</b>\n{QSTAT % ('qw', tasks)}bye\n")

    assert running[:1] + running[2:] == ("2.3", "xq-ab-1", 3)
    assert running.answer.presence is Presence.RUNNING
    assert [listed.uid for listed in waiting] == uids
    assert {listed.answer.presence for listed in waiting} == {Presence.PENDING}
    assert {listed.name for listed in waiting} == {"xq-ab-2"}


@pytest.mark.parametrize(
    ("state", "words"),
    [("qw", "qw (waiting)"), ("hqw", "hqw (held)"), ("Eqw", "Eqw (error: `qstat -j 12` says why)")],
)
def test_why_a_job_waits_is_told(sge, state, words):
    _, waiting = sge.read_poll(QSTAT % (state, "\n      <tasks>4</tasks>"))

    assert waiting.answer.reason.detail["message"] == words


@pytest.mark.parametrize(
    "output",
    [
        "",
        "<html><body>503</body></html>",
        "<?xml version='1.0'?>\n<html></html>",
        QSTAT[:400],
        QSTAT.rpartition("</job_info>")[0],
        "job-ID  prior   name       user         state\n",
        "\ufffd\ufffd\0",
    ],
)
def test_what_is_no_list_is_no_answer(sge, output):
    with pytest.raises(BackendAnswerError):
        list(sge.read_poll(output))


def test_the_accounting_is_asked_by_numbers_and_elements(sge, programs):
    with open(programs["qacct"], "w", encoding="utf-8") as qacct:
        qacct.write('#!/bin/sh\necho "$@"\nexit 1\n')

    argv = sge.account_command(["1", "2.3", "4.1", "4.2", "5"])
    done = subprocess.run(argv, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["-j 1", "-j 2 -t 3", "-j 4", "-j 5"]


def test_without_qacct_the_accounting_is_not_asked(programs):
    assert SgeScheduler(**{**programs, "qacct": ""}).account_command(["1"]) is None


@pytest.mark.parametrize("option", SgeScheduler.programs)
def test_a_path_of_a_command_that_is_none_is_refused(programs, option):
    with pytest.raises(OptionError, match=f"{option}='/nowhere/q' is no program"):
        SgeScheduler(**{**programs, option: "/nowhere/q"})


@pytest.mark.parametrize(
    ("failed", "status", "peak", "category", "end"),
    [
        ("0", "0", "1MB", "NONE", None),
        ("0", "3", "1MB", "NONE", None),
        (HARD, "137 (Killed)", "3MB", "-l h_rt=3", "TIMEOUT"),
        (HARD, "143", "3MB", "-l h_vmem=1G,h_rt=3", "TIMEOUT"),
        (HARD, "137", "2.100GB", "-l h_vmem=2G", "OOM"),
        (HARD, "137", "3MB", "NONE", "TIMEOUT"),
        ("100 : assumedly after job", "137                  (Killed)", "3MB", "NONE", "KILLED"),
        ("0", "143                  (Terminated)", "3MB", "NONE", "KILLED"),
        ("0", "143                  (Terminated)", "3MB", "-l s_rt=9", "TIMEOUT"),
        ("0", "143                  (Terminated)", "3MB", "-l s_rt=0:0:10", "KILLED"),
        ("19  : before writing exit_status", "0", "3MB", "NONE", "LOST"),
    ],
)  # fmt: skip
def test_how_a_job_ended_is_read_from_its_record(sge, failed, status, peak, category, end):
    [listed] = sge.read_account(QACCT % ("undefined", failed, status, peak, category))

    assert (listed.uid, listed.name, listed.answer.presence) == ("21", "xq-ab-1", Presence.GONE)
    assert (listed.answer.reason and listed.answer.reason.code) == end


def test_a_walltime_is_told_with_its_limit(sge):
    [listed] = sge.read_account(QACCT % ("3", "37  : enforced", "137", "3MB", "-l h_rt=3,mem=2G -pe smp 2"))

    assert listed.uid == "21.3"
    assert listed.answer.reason == Reason("TIMEOUT", {"timeout": "3", "message": "37  : enforced"})


def test_a_record_of_a_job_that_runs_again_and_lines_of_no_record_are_no_end(sge):
    record = QACCT % ("undefined", "25  : rescheduling", "99", "3MB", "NONE")

    assert list(sge.read_account(f"error: qacct\n{record}Total System Usage\n  1 2 3\n")) == []


@pytest.mark.parametrize(
    ("line", "uid"),
    [("error: job id 7 not found", "7"), ("error: Job-array tasks 7.2-2:1 not found", "7.2")],
)
def test_that_there_is_no_record_of_a_job_is_no_end_of_it(sge, line, uid):
    record = QACCT % ("undefined", "0", "3", "1MB", "NONE")

    missing, ended = sge.read_account(f"{line}\n{record}")

    assert (missing.uid, missing.answer) == (uid, Answer(Presence.UNKNOWN))
    assert ended.uid == "21"


def test_an_accounting_that_can_not_be_read_says_nothing_of_any_job(sge):
    """As 8.1.9 says where there is no file of records yet."""
    output = "/sge/default/common/accounting: No such file or directory\nno jobs running since startup\n"

    assert list(sge.read_account(output)) == []


def test_what_is_looked_for_once_more_is_looked_for_among_what_ended(sge):
    assert sge.ends_command(["7"])[1:] == ["-xml", "-u", "$user", "-s", "psrz"]
    zombies = QSTAT.replace('state="pending"', 'state="zombie"') % ("z", "")

    assert [listed.answer for listed in sge.read_ends(zombies)][-1] == Answer(Presence.GONE)


# Killing


def test_jobs_are_deleted_by_one_command(sge):
    argv = sge.kill_command(["7", "8.1", "8.2", "8.3", "8.9", "9.4"])

    assert words(argv) == "qdel 7 8.1-3 8.9 9.4"


@pytest.mark.parametrize(
    "said",
    [
        'denied: job "999" does not exist',
        'job "12" task "99" does not exist',
        'job "27" task id range "1-2:1" comprises no tasks',
        "job 26 is already in deletion",
    ],
)
def test_what_is_gone_is_no_error_of_a_deletion(sge, said):
    assert sge.unknown.search(said)


def test_what_could_not_be_asked_is_an_error_of_a_deletion(sge):
    assert not sge.unknown.search("error: commlib error: got select error (Connection refused)")


async def test_a_program_that_is_not_there_is_an_outage(bench_of_nothing):
    job, scheduler = bench_of_nothing
    with pytest.raises(BackendUnavailable, match="qstat="):
        await scheduler.job_is_running(job)


@pytest.fixture
def gone(programs):
    """One whose commands have vanished since it was made."""
    scheduler = SgeScheduler(**programs)
    for path in programs.values():
        Path(path).unlink()
    return scheduler


@pytest.fixture
async def bench_of_nothing(gone, tmp_path):
    job = await Bench(gone, tmp_path).exiting(0)
    job.uid = "7"
    return job, gone
