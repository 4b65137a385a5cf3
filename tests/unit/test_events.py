"""The lines of `job.events`, and what they add up to."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqute.events import (
    BARS_MAX,
    LEVELS,
    LINE_MAX_BYTES,
    Event,
    Progress,
    Story,
    format_event,
    parse_event,
    read_events,
)

#: Texts that survive a line: no breaks, no blanks at their ends.
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"])).map(str.strip)
NUMBERS = st.floats(0, 1e9).map(lambda number: float(f"{number:.12g}"))
NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Z"]), min_size=1)).map(tuple)
COUNTS = st.integers(1, 99).map(float)
EVENTS = st.one_of(
    st.tuples(st.just("progress"), TEXTS, NUMBERS, NUMBERS, NAMES),
    st.tuples(st.sampled_from(["stage", "skip"]), TEXTS),
    st.tuples(st.just("stage"), TEXTS, COUNTS, COUNTS),
    st.tuples(
        st.just("stage"), TEXTS, COUNTS, COUNTS, st.just(()), st.just(""), st.integers(1, 10**10).map(float)
    ),
    st.tuples(st.just("require"), TEXTS.filter(bool)),
    st.tuples(st.just("log"), TEXTS, st.just(0.0), st.just(0.0), st.just(()), st.sampled_from(LEVELS)),
).map(lambda fields: Event(*fields))


@given(EVENTS)
def test_an_event_is_read_as_it_was_written(event):
    line = format_event(event)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    if len(line) < LINE_MAX_BYTES:
        assert parse_event(line) == event


@given(st.sampled_from(["progress", "stage", "skip", "log"]), st.text(min_size=1, max_size=9000))
def test_any_text_is_one_line_of_one_write(word, text):
    line = format_event(Event(word, text))

    assert len(line) <= LINE_MAX_BYTES
    assert line.splitlines() == [line[:-1]]
    line.decode("utf-8")


def test_a_long_text_is_cut_between_two_characters():
    line = format_event(Event("skip", "ü" * 5000))

    assert len(line) in {LINE_MAX_BYTES, LINE_MAX_BYTES - 1}
    assert set(line.decode()[5:-1]) == {"ü"}


@given(st.binary())
def test_any_bytes_are_some_event(line):
    event = parse_event(line)

    assert event is None or event.word in {"progress", "stage", "skip", "require", "log"}


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("progress 3 10 frame 3", Event("progress", "frame 3", 3, 10)),
        ("progress 3 10", Event("progress", "", 3, 10)),
        ("progress 40", Event("progress", "", 40, 100)),
        ("progress 40 almost there", Event("progress", "almost there", 40, 100)),
        ("progress@a/b 1 4 message", Event("progress", "message", 1, 4, ("a", "b"))),
        ("progress@a%20b/c%2Fd%25 1 4", Event("progress", "", 1, 4, ("a b", "c/d%"))),
        ("progress@50% 1 4", Event("progress", "", 1, 4, ("50%",))),
        ("  stage   align reads  ", Event("stage", "align reads")),
        ("stage@2/5 align", Event("stage", "align", 2, 5)),
        ("stage", Event("stage", "")),
        ("stage@2/5@1763728802.5 align", Event("stage", "align", 2, 5, date=1763728802.5)),
        ("stage@1763728802.512", Event("stage", "", date=1763728802.512)),
        ("stage@2/5@-1.5 align", Event("log", "stage@2/5@-1.5 align", level="info")),
        ("skip nothing new", Event("skip", "nothing new")),
        ("skip", Event("skip", "")),
        ("log warning text", Event("log", "text", level="warning")),
        ("log WARNING text", Event("log", "text", level="warning")),
        ("log text of mine", Event("log", "text of mine", level="info")),
        ("require 4f1c", Event("require", "4f1c")),
        ("something else", Event("log", "something else", level="info")),
        ("progress soon", Event("log", "progress soon", level="info")),
        ("progress nan 3", Event("log", "progress nan 3", level="info")),
        ("progress inf", Event("log", "progress inf", level="info")),
        ("stage@2 align", Event("log", "stage@2 align", level="info")),
        ("stage@0/0 align", Event("log", "stage@0/0 align", level="info")),
        ("require", Event("log", "require", level="info")),
        ("skipped", Event("log", "skipped", level="info")),
        ("", None),
        (" \t\r", None),
    ],
)
def test_lines_that_a_shell_writes_are_understood(line, event):
    assert parse_event(line) == event
    assert parse_event(line.encode()) == event


def told(*lines: str) -> Progress:
    return Story().tell(event for line in lines if (event := parse_event(line)) is not None)


class TestStory:
    def test_nothing_said_is_nothing_done(self):
        progress = told()

        assert (progress.current, progress.total, progress.percent, progress.message) == (0, 100, 0, "")
        assert (progress.stage, progress.children) == ("", {})

    def test_the_last_word_counts_and_may_go_down(self):
        progress = told("progress 8 10 a", "progress 3 10 b")

        assert (progress.current, progress.total, progress.percent) == (3, 10, 30)
        assert progress.message == "b"

    @pytest.mark.parametrize(
        ("line", "percent"), [("progress 5 0", 0), ("progress 12 10", 100), ("progress -1", 0)]
    )
    def test_percent_is_from_0_to_100(self, line, percent):
        assert told(line).percent == percent

    def test_a_level_that_says_nothing_is_the_sum_of_those_below(self):
        progress = told("progress@a/x 1 4", "progress@a/y 2 4", "progress@b 1 2")

        assert (progress.current, progress.total) == (4, 10)
        assert progress.percent == 40
        assert progress.children["a"].current == 3
        assert list(progress.children["a"].children) == ["x", "y"]

    def test_a_level_that_says_something_is_what_it_says(self):
        progress = told("progress@a/x 1 4", "progress@a 1 2 half", "progress 1 10")

        assert progress.percent == 10
        assert (progress.children["a"].percent, progress.children["a"].message) == (50, "half")

    def test_numbered_stages_move_by_themselves(self):
        lines = ["stage@1/3 a", "stage@2/3 b", "progress 1 2", "stage@3/3 c"]

        seen = [told(*lines[:n]).percent for n in range(1, 5)]

        assert seen == pytest.approx([20, 40, 50, 60])

    def test_bars_inside_a_stage_are_its_fraction(self):
        progress = told("progress@old 1 1", "stage@1/2 a", "progress@x 1 2", "progress@y 1 2")

        assert progress.percent == pytest.approx(100 * 1.5 / 4)
        assert list(progress.children) == ["x", "y"]

    def test_a_stage_without_a_number_is_only_a_name(self):
        progress = told("progress 3 10", "stage@2/3 b", "progress 1 2", "stage detail")

        assert progress.stage == "detail"
        assert progress.percent == pytest.approx(50)

    def test_other_events_change_nothing(self):
        story = Story()

        changed = [story.add(Event(word, "x")) for word in ("log", "skip", "require")]

        assert not any(changed)
        assert story.progress == Progress()

    def test_bars_without_end_end(self):
        story = Story()
        for number in range(3 * BARS_MAX):
            story.add(Event("progress", "", 1, 2, (str(number),)))
        story.add(Event("progress", "", 1, 2, ("deep",) * 10_000))

        assert len(story.progress.children) == BARS_MAX - 1


class TestReading:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "job.events"

    def read(self, path, offset=0, **more):
        events, after = read_events(str(path), offset, **more)
        return [event.text for event in events], after

    def test_what_was_appended_is_read_once(self, path):
        path.write_text("log a\nlog b\n")
        first = self.read(path)
        with path.open("a") as file:
            file.write("log c\n")

        assert first == (["a", "b"], 12)
        assert self.read(path, 12) == (["c"], 18)
        assert self.read(path, 18) == ([], 18)

    def test_half_a_line_waits_for_its_end(self, path):
        path.write_text("log a\nlog b")

        assert self.read(path) == (["a"], 6)

    def test_a_cap_is_kept_and_the_rest_follows(self, path):
        path.write_text("log a\nlog b\nlog c\n")

        assert self.read(path, 0, cap=14) == (["a", "b"], 12)
        assert self.read(path, 12, cap=14) == (["c"], 18)

    def test_a_line_without_end_stops_nobody(self, path):
        path.write_bytes(b"x" * 100 + b"\nlog a\n")

        texts, offset = [], 0
        for _ in range(30):
            found, offset = self.read(path, offset, cap=10)
            texts += found

        assert texts[-1] == "a"
        assert offset == 107

    def test_a_file_that_was_written_over_is_read_again(self, path):
        path.write_text("log a\nlog b\n")
        _, offset = self.read(path)
        path.write_text("log c\n")

        assert self.read(path, offset) == (["c"], 6)

    @pytest.mark.parametrize("what", ["nothing", "link", "pipe", "folder"])
    def test_only_a_regular_file_is_read(self, path, what):
        other = path.with_name("other")
        other.write_text("log planted\n")
        match what:
            case "link":
                path.symlink_to(other)
            case "pipe":
                os.mkfifo(path)
            case "folder":
                path.mkdir()

        assert self.read(path, 5) == ([], 5)
