"""Evidence may come late, twice, in any order or never: an end is final, comes once, and needs proof."""

from hypothesis import given
from hypothesis import strategies as st

from xqute.rules.evidence import Evidence, Judgement, judge
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

SILENT = {FileState.ABSENT, FileState.RUNNING, FileState.UNREADABLE}

news = st.builds(
    FileNews,
    state=st.sampled_from(FileState),
    rc=st.none() | st.sampled_from([0, 1, 137, 143]),
    signal=st.sampled_from(["", "", "TERM"]),
    ours=st.booleans(),
)
answers = st.builds(
    Answer, presence=st.sampled_from(Presence), reason=st.none() | st.sampled_from([Reason("OOM")])
)
#: What is seen at one moment, and whether somebody asked to stop the job before.
moments = st.tuples(news, answers, st.sampled_from([0.0, 9.9, 10.0, 1e6]), st.booleans())


class Life:
    """One start of a job, moved by what is seen of it; a judgement that it is over ends the watching."""

    def __init__(self) -> None:
        self.status = JobStatus.SUBMITTED
        self.path = [self.status]
        self.ends = 0
        self.over = False

    def see(self, moment: tuple[FileNews, Answer, float, bool]) -> None:
        files, answer, waited, killed = moment
        if killed:
            self._move(JobEvent.KILL_ASKED)
        judgement = judge(Evidence(self.status, files, answer, waited, grace=10.0, max_resubmits=3))
        if judgement is not None:
            self._move(judgement.event)

    def _move(self, event: JobEvent) -> None:
        transition = TRANSITIONS.get((self.status, event))
        if self.over or transition is None:
            return
        self.status = transition.to
        self.path.append(self.status)
        self.ends += self.status.final
        self.over = not self.status.live


def lived(moments) -> Life:
    life = Life()
    for moment in moments:
        life.see(moment)
    return life


@given(st.lists(moments, max_size=25))
def test_an_end_is_final_and_comes_once_whatever_comes_after(seen):
    life = Life()
    for moment in seen:
        before, judged = life.status, life.over
        life.see(moment)
        if judged:
            assert life.status is before

    assert life.ends == sum(status.final for status in life.path) <= 1
    assert [status for status in life.path if status.final] in ([], [life.status])


@given(st.sampled_from([status for status in JobStatus if status.final]), moments)
def test_no_evidence_moves_a_job_that_has_ended(status, moment):
    """Not even where the judgement is asked for: what it says is in no line of the table."""
    files, answer, waited, _ = moment
    judgement = judge(Evidence(status, files, answer, waited, grace=10.0))

    assert judgement is None or (status, judgement.event) not in TRANSITIONS


@given(st.lists(st.tuples(moments, st.integers(2, 5)), max_size=12))
def test_the_same_evidence_twice_is_once(seen):
    """Only what a job is told to do is counted; what is seen of it may be seen as often as you like.

    Twice says all there is to say: that it began, and that it ended.
    """
    once = lived(moment for moment, _ in seen for _ in range(2))
    often = lived(moment for moment, times in seen for _ in range(times))

    assert often.path == once.path


@given(st.lists(moments, max_size=12), st.lists(st.integers(0, 12), max_size=6))
def test_answers_that_say_nothing_change_nothing_wherever_they_come(seen, places):
    """An answer UNKNOWN, with files that say what they said before, however long one has waited."""
    seen = [(files, answer, waited, False) for files, answer, waited, _ in seen]
    more = list(seen)
    for place in sorted(places, reverse=True):
        if place <= len(seen):
            files = seen[place - 1][0] if place else FileNews(FileState.ABSENT)
            if files.state in SILENT:
                more.insert(place, (files, Answer(Presence.UNKNOWN), 1e6, False))

    assert lived(more).path == lived(seen).path


@given(st.lists(moments, max_size=25))
def test_an_end_needs_files_that_say_so_or_a_scheduler_that_says_gone(seen):
    quiet = [
        (files if files.state in SILENT else FileNews(FileState.RUNNING), answer, waited, killed)
        for files, answer, waited, killed in seen
    ]
    alive = [
        (files, Answer(Presence.RUNNING) if answer.presence is Presence.GONE else answer, waited, killed)
        for files, answer, waited, killed in quiet
    ]

    assert lived(alive).ends == 0
    assert lived(alive).over is False


@given(moments, st.floats(0, 1e6))
def test_waiting_longer_never_takes_a_judgement_back(moment, longer):
    files, answer, waited, _ = moment
    for status in (JobStatus.SUBMITTED, JobStatus.RUNNING, JobStatus.KILLING):
        early = judge(Evidence(status, files, answer, waited, grace=10.0))
        late = judge(Evidence(status, files, answer, waited + longer, grace=10.0))

        assert early is None or late == early
        assert late is None or isinstance(late, Judgement)
