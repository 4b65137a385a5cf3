"""The one table is sound: no state is a trap, none is out of reach, and plugins know its hooks."""

import pytest

from xqute.plugin import HOOK_NAMES
from xqute.states import (
    SENTENCES,
    TRANSITIONS,
    EndReason,
    JobEvent,
    JobStatus,
    Reason,
    WaitReason,
)


def reachable(first: JobStatus) -> set[JobStatus]:
    """Every status that some row of events leads to."""
    found, new = set(), {first}
    while new:
        found |= new
        new = {to for (status, _), (to, _) in TRANSITIONS.items() if status in found} - found
    return found


def test_every_status_is_reached_from_init():
    assert reachable(JobStatus.INIT) == set(JobStatus)


@pytest.mark.parametrize("status", [s for s in JobStatus if not s.final], ids=lambda s: s.name)
def test_every_status_that_is_not_final_can_end(status):
    assert any(end.final for end in reachable(status))


@pytest.mark.parametrize("status", [s for s in JobStatus if not s.final], ids=lambda s: s.name)
def test_every_accepted_job_can_be_killed(status):
    if status is JobStatus.INIT:
        assert (status, JobEvent.KILL_ASKED) not in TRANSITIONS
    elif status is JobStatus.KILLING:
        assert TRANSITIONS[status, JobEvent.KILLED].to is JobStatus.KILLED
    else:
        assert TRANSITIONS[status, JobEvent.KILL_ASKED].to is JobStatus.KILLING


def test_a_final_status_is_left_only_by_asking_for_a_retry():
    leaving = {(status, event) for status, event in TRANSITIONS if status.final}

    assert leaving == {
        (status, event)
        for status in (JobStatus.FAILED, JobStatus.KILLED)
        for event in (JobEvent.RETRY_ASKED, JobEvent.RETRY_ASKED_WAITING)
    }


def test_only_success_finishes_and_only_a_kill_kills():
    for (_, event), (to, _) in TRANSITIONS.items():
        assert (to is JobStatus.FINISHED) == (event is JobEvent.SUCCEEDED)
        assert (to is JobStatus.KILLED) == (event is JobEvent.KILLED)


def test_a_job_that_was_asked_to_stop_never_runs_again_by_itself():
    to = {after for (status, _), (after, _) in TRANSITIONS.items() if status is JobStatus.KILLING}

    assert to == {JobStatus.FINISHED, JobStatus.SKIPPED, JobStatus.KILLED}


def test_every_event_is_in_the_table():
    assert {event for _, event in TRANSITIONS} == set(JobEvent)


def test_every_hook_of_the_table_is_one_that_plugins_know():
    assert {hook for _, hook in TRANSITIONS.values()} <= set(HOOK_NAMES)


def test_a_printed_status_is_its_name():
    finished, killed = JobStatus.FINISHED, JobStatus.KILLED

    assert [str(finished), f"{finished}", f"{killed:>8}"] == ["FINISHED", "FINISHED", "  KILLED"]


def test_the_numbers_of_statuses_are_those_in_files_and_stores():
    assert [f"{status.value} {status.name}" for status in JobStatus] == [
        "0 INIT",
        "1 WAITING",
        "2 QUEUED",
        "3 SUBMITTED",
        "4 RUNNING",
        "5 KILLING",
        "6 FINISHED",
        "7 FAILED",
        "8 KILLED",
        "9 SKIPPED",
    ]


def test_live_and_final_exclude_each_other():
    assert {status for status in JobStatus if status.final} == {
        JobStatus.FINISHED,
        JobStatus.FAILED,
        JobStatus.KILLED,
        JobStatus.SKIPPED,
    }
    assert {status for status in JobStatus if status.live} == {
        JobStatus.SUBMITTED,
        JobStatus.RUNNING,
        JobStatus.KILLING,
    }


def test_every_reason_has_a_sentence_and_every_sentence_a_reason():
    assert {*map(str, WaitReason), *map(str, EndReason)} == set(SENTENCES)


@pytest.mark.parametrize("code", [*WaitReason, *EndReason])
def test_a_reason_without_facts_still_reads(code):
    assert str(Reason(code))


def test_a_reason_adds_what_somebody_said():
    assert str(Reason("EXIT", {"rc": 3, "message": "no disk"})) == "EXIT 3: no disk"


def test_a_reason_of_a_newer_xqute_still_reads():
    assert str(Reason("EATEN_BY_BEARS", {"message": "twice"})) == "EATEN_BY_BEARS: twice"


def test_a_fact_with_braces_is_told_as_it_is():
    assert str(Reason("EXIT", {"rc": 1, "message": "{rc} {nope}"})) == "EXIT 1: {rc} {nope}"


def test_the_lines_of_a_message_are_told_apart_in_its_sentence():
    reason = Reason("REJECTED", {"message": "two are missing:\n  a.txt\r\n  b.txt\n"})

    assert str(reason) == "REJECTED: two are missing: / a.txt / b.txt"
