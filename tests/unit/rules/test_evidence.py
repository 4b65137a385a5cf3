"""The table of evidence, row by row, and what holds for any evidence whatsoever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqute.rules.evidence import Evidence, Judgement, judge, rc_reason
from xqute.states import (
    TRANSITIONS,
    Answer,
    FileNews,
    FileState,
    JobEvent,
    JobStatus,
    Presence,
    Reason,
)

ABSENT = FileNews(FileState.ABSENT)
BEGAN = FileNews(FileState.RUNNING, ours=True, pid=7)
FINISHED = FileNews(FileState.FINISHED, rc=0, ours=True)
NO_RC = FileNews(FileState.FINISHED)
UNREADABLE = FileNews(FileState.UNREADABLE, what="job.status says 'LOL'")

RUNNING = JobStatus.RUNNING
SUBMITTED = JobStatus.SUBMITTED
KILLING = JobStatus.KILLING

GONE = Answer(Presence.GONE)
ANSWERS = [Answer(presence) for presence in Presence]
THERE = [answer for answer in ANSWERS if answer.presence is not Presence.GONE]
by_name = pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.presence.name)
there = pytest.mark.parametrize("answer", THERE, ids=lambda answer: answer.presence.name)


def failed(rc: int, signal: str = "", *, ours: bool = True) -> FileNews:
    return FileNews(FileState.FAILED, rc=rc, signal=signal, ours=ours)


def seen(status: JobStatus, files: FileNews, answer: Answer = THERE[0], **more) -> Evidence:
    """Evidence with a grace of 10 s and three more tries."""
    return Evidence(status, files, answer, **{"grace": 10.0, "max_resubmits": 3, **more})


def event(evidence: Evidence) -> JobEvent | None:
    judgement = judge(evidence)
    return judgement and judgement.event


def code(evidence: Evidence) -> str:
    judgement = judge(evidence)
    assert judgement is not None
    return judgement.reason.code


# an end in the words of our wrapper


@by_name
@pytest.mark.parametrize("status", [SUBMITTED, RUNNING])
def test_finished_0_succeeded_whatever_the_scheduler_says(status, answer):
    judgement = judge(seen(status, FINISHED, answer))

    assert judgement == Judgement(JobEvent.SUCCEEDED, Reason("EXIT", {"rc": 0}), 0)


@by_name
@pytest.mark.parametrize("rc", [1, 2, 126, 137, 255])
def test_failed_rc_failed_with_that_rc_whatever_the_scheduler_says(answer, rc):
    judgement = judge(seen(RUNNING, failed(rc), answer))

    assert (judgement.event, judgement.rc) == (JobEvent.FAILED, rc)


@by_name
def test_skipped_is_skipped(answer):
    assert event(seen(RUNNING, FileNews(FileState.SKIPPED), answer)) is JobEvent.SKIPPED


# an end in the words of an author's script


@pytest.mark.parametrize("state", [FileState.FINISHED, FileState.FAILED])
@pytest.mark.parametrize(("rc", "what"), [(0, JobEvent.SUCCEEDED), (3, JobEvent.FAILED)])
def test_an_authors_word_counts_by_its_rc(state, rc, what):
    assert event(seen(RUNNING, FileNews(state, rc=rc))) is what


@by_name
@pytest.mark.parametrize("state", [FileState.FINISHED, FileState.FAILED])
def test_an_authors_word_without_rc_waits_for_the_grace_and_is_torn(state, answer):
    assert event(seen(RUNNING, FileNews(state), answer, waited=9.9)) is None
    assert event(seen(RUNNING, FileNews(state), answer, waited=10.0)) is JobEvent.FAILED
    assert code(seen(RUNNING, FileNews(state), answer, waited=10.0)) == "CORRUPT"


# no end yet


@by_name
def test_running_first_seen_is_started(answer):
    assert event(seen(SUBMITTED, BEGAN, answer)) is JobEvent.STARTED


@there
@pytest.mark.parametrize(
    ("status", "files"),
    [(RUNNING, BEGAN), (SUBMITTED, ABSENT), (SUBMITTED, UNREADABLE), (RUNNING, UNREADABLE)],
)
def test_what_the_scheduler_has_or_does_not_know_changes_nothing_ever(status, files, answer):
    assert judge(seen(status, files, answer, waited=1e9)) is None


@pytest.mark.parametrize("files", [BEGAN, ABSENT, UNREADABLE])
def test_gone_changes_nothing_within_the_grace(files):
    assert judge(seen(RUNNING, files, GONE, waited=9.9)) is None


def test_gone_after_the_grace_is_lost():
    assert code(seen(RUNNING, BEGAN, GONE, waited=10.0)) == "LOST"


def test_gone_after_the_grace_tells_what_the_scheduler_says_of_the_end():
    answer = GONE._replace(said="Slurm says FAILED (JobLaunchFailure)")

    judgement = judge(seen(RUNNING, BEGAN, answer, waited=10.0))

    assert str(judgement.reason) == (
        "LOST: Slurm says FAILED (JobLaunchFailure), and its files don't say how it ended"
    )


@pytest.mark.parametrize("said", ["", "Slurm says FAILED (JobLaunchFailure)"])
def test_what_it_says_is_no_reason_to_hand_over_what_never_began_less_often(said):
    answer = GONE._replace(said=said)

    assert event(seen(SUBMITTED, ABSENT, answer, waited=10.0)) is JobEvent.RETURNED


@pytest.mark.parametrize("files", [BEGAN, ABSENT], ids=["began", "never began"])
@pytest.mark.parametrize("known", ["OOM", "TIMEOUT", "NODE_FAIL", "PREEMPTED"])
def test_gone_after_the_grace_has_the_schedulers_reason(files, known):
    answer = Answer(Presence.GONE, Reason(known))

    assert code(seen(RUNNING, files, answer, waited=10.0)) == known


def test_gone_with_an_unreadable_file_is_corrupt_and_says_what_is_there():
    judgement = judge(seen(RUNNING, UNREADABLE, GONE, waited=10.0))

    assert judgement.reason.code == "CORRUPT"
    assert "LOL" in str(judgement.reason)


@pytest.mark.parametrize("resubmits", [0, 1, 2])
def test_an_absent_claim_is_handed_over_again_as_the_same_start(resubmits):
    evidence = seen(SUBMITTED, ABSENT, GONE, waited=10.0, resubmits=resubmits)

    assert event(evidence) is JobEvent.RETURNED


def test_an_absent_claim_is_lost_after_the_third_time():
    evidence = seen(SUBMITTED, ABSENT, GONE, waited=10.0, resubmits=3)

    assert code(evidence) == "LOST"
    assert "4 hand-overs" in str(judge(evidence).reason)


def test_an_authors_script_has_no_claim_and_is_never_handed_over_again():
    evidence = seen(SUBMITTED, ABSENT, GONE, waited=10.0, claims=False)

    assert code(evidence) == "LOST"


# somebody else stopped it


@pytest.mark.parametrize("rc", [0, 143])
def test_a_signal_nobody_of_us_sent_waits_for_the_schedulers_reason(rc):
    evidence = seen(RUNNING, failed(rc, "TERM"), GONE, waited=9.9)

    assert judge(evidence) is None
    assert code(evidence._replace(answer=Answer(Presence.GONE, Reason("PREEMPTED")))) == "PREEMPTED"


@by_name
def test_a_signal_nobody_explains_is_the_reason_after_the_grace(answer):
    judgement = judge(seen(RUNNING, failed(143, "XCPU"), answer, waited=10.0))

    assert (judgement.event, judgement.rc) == (JobEvent.FAILED, 143)
    assert judgement.reason.detail["name"] == "SIGXCPU"


OWED = GONE._replace(owed=True)


@pytest.mark.parametrize("files", [failed(143), failed(0, "TERM"), BEGAN, ABSENT], ids=str)
def test_an_end_that_the_scheduler_will_explain_is_not_judged_before(files):
    evidence = seen(RUNNING, files, OWED, waited=1000.0)

    assert judge(evidence) is None
    assert code(evidence._replace(answer=Answer(Presence.GONE, Reason("OOM")))) == "OOM"


@pytest.mark.parametrize("files", [failed(1), FINISHED], ids=str)
def test_an_end_that_the_files_explain_waits_for_nobody(files):
    assert judge(seen(RUNNING, files, OWED)) == judge(seen(RUNNING, files, GONE))


def test_a_job_that_we_asked_to_stop_is_killed_whatever_its_scheduler_may_explain():
    assert event(seen(KILLING, BEGAN, OWED)) is JobEvent.KILLED


# our own timeout


@pytest.mark.parametrize("files", [failed(143, "TERM"), failed(1), failed(137), failed(0, "TERM")], ids=str)
def test_a_job_that_ran_too_long_failed_by_its_timeout(files):
    assert code(seen(RUNNING, files, timed_out=Reason("TIMEOUT"))) == "TIMEOUT"


def test_a_job_that_ended_well_though_it_ran_too_long_succeeded():
    evidence = seen(RUNNING, FINISHED, timed_out=Reason("TIMEOUT"))

    assert event(evidence) is JobEvent.SUCCEEDED


def test_a_job_that_ran_too_long_and_is_gone_failed_by_its_timeout():
    evidence = seen(RUNNING, BEGAN, GONE, waited=10.0, timed_out=Reason("TIMEOUT"))

    assert code(evidence) == "TIMEOUT"


# asked to stop


@by_name
def test_killing_and_finished_by_our_wrapper_succeeded(answer):
    assert event(seen(KILLING, FINISHED, answer)) is JobEvent.SUCCEEDED


@by_name
@pytest.mark.parametrize(
    "files",
    [
        FileNews(FileState.FINISHED, rc=0),
        FileNews(FileState.FINISHED),
        FileNews(FileState.FAILED),
        failed(143, "TERM"),
        failed(1),
        failed(0, "TERM"),
    ],
    ids=str,
)
def test_killing_and_ended_otherwise_is_killed_at_once(files, answer):
    judgement = judge(seen(KILLING, files, answer, stopped_by="request"))

    assert judgement.event is JobEvent.KILLED
    assert str(judgement.reason) == "KILLED by request"


@pytest.mark.parametrize("files", [BEGAN, ABSENT, UNREADABLE])
def test_killing_and_gone_is_killed_without_grace(files):
    assert event(seen(KILLING, files, GONE)) is JobEvent.KILLED


@there
@pytest.mark.parametrize("files", [BEGAN, ABSENT, UNREADABLE])
def test_killing_and_not_gone_stays_killing(files, answer):
    assert judge(seen(KILLING, files, answer, waited=1e9)) is None


# reasons


@pytest.mark.parametrize(
    ("rc", "sentence"),
    [
        (1, "EXIT 1"),
        (127, "EXIT 127: command not found"),
        (128, "EXIT 128"),
        (137, "SIGNAL 9"),
        (143, "SIGNAL 15"),
        (255, "EXIT 255"),
    ],
)
def test_an_rc_reads_as_a_shell_tells_it(rc, sentence):
    assert str(rc_reason(rc)) == sentence


def test_rc_137_is_not_called_oom_without_evidence():
    assert rc_reason(137).code == "SIGNAL"


# whatever the evidence

news = st.builds(
    FileNews,
    state=st.sampled_from(FileState),
    rc=st.none() | st.integers(0, 255),
    signal=st.sampled_from(["", "TERM", "HUP", "XCPU", "USR2"]),
    ours=st.booleans(),
)
reasons = st.none() | st.sampled_from([Reason(code) for code in ("OOM", "PREEMPTED", "TIMEOUT")])
answers = st.builds(Answer, presence=st.sampled_from(Presence), reason=reasons)
facts = st.fixed_dictionaries(
    {
        "files": news,
        "answer": answers,
        "waited": st.floats(0, 1e6),
        "grace": st.floats(0, 100),
        "claims": st.booleans(),
        "timed_out": st.none() | st.just(Reason("TIMEOUT")),
        "stopped_by": st.sampled_from(["", "request"]),
        "resubmits": st.integers(0, 4),
        "max_resubmits": st.just(3),
    }
)


@given(st.lists(facts, max_size=20))
def test_no_order_of_evidence_takes_a_job_out_of_a_final_status(rows):
    status = SUBMITTED
    for row in rows:
        judgement = judge(Evidence(status=status, **row))
        if judgement is None or (status, judgement.event) not in TRANSITIONS:
            continue
        after = TRANSITIONS[status, judgement.event].to
        assert not status.final
        status = after if after is not JobStatus.QUEUED else SUBMITTED


@given(st.sampled_from([SUBMITTED, RUNNING, KILLING]), facts)
def test_every_judgement_is_an_event_that_the_table_lists(status, row):
    judgement = judge(Evidence(status=status, **row))

    assert judgement is None or (status, judgement.event) in TRANSITIONS


@given(st.sampled_from([SUBMITTED, RUNNING, KILLING]), facts)
def test_not_knowing_never_ends_a_job(status, row):
    files = row["files"]
    quiet = {**row, "answer": Answer(Presence.UNKNOWN)}
    if files.state in {FileState.ABSENT, FileState.RUNNING, FileState.UNREADABLE}:
        judgement = judge(Evidence(status=status, **quiet))

        assert judgement is None or judgement.event is JobEvent.STARTED


@given(st.sampled_from([SUBMITTED, RUNNING]), facts)
def test_success_needs_an_rc_of_0_in_the_files(status, row):
    judgement = judge(Evidence(status=status, **row))

    if judgement is not None and judgement.event is JobEvent.SUCCEEDED:
        assert row["files"].rc == 0
        assert not row["files"].signal


@by_name
def test_a_kill_that_is_to_be_confirmed_is_over_when_the_scheduler_says_gone(answer):
    judgement = judge(seen(KILLING, failed(143, "TERM"), answer, confirms=True))

    if answer.presence is Presence.GONE:
        assert judgement is not None
        assert judgement.event is JobEvent.KILLED
    else:
        assert judgement is None


def test_what_ended_well_before_it_was_killed_needs_no_confirmation():
    judgement = judge(seen(KILLING, FINISHED, THERE[0], confirms=True))

    assert judgement is not None
    assert judgement.event is JobEvent.SUCCEEDED
