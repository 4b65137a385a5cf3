"""What others may have put into a job's directory is read with care, and never waited for."""

import os
import socket
import stat
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqute import metadir
from xqute.errors import MetadirError
from xqute.states import FileNews, FileState


@pytest.fixture
def job(tmp_path):
    """The directory of a job."""
    return tmp_path


def status(job, content: bytes) -> FileNews:
    (job / "job.status").write_bytes(content)
    return metadir.read_news(str(job))


# honest content


@pytest.mark.parametrize(
    ("content", "news"),
    [
        (b"RUNNING 17\n", FileNews(FileState.RUNNING, ours=True, pid=17)),
        (b"RUNNING 17\nFINISHED 0\n", FileNews(FileState.FINISHED, rc=0, ours=True)),
        (b"RUNNING 17\nFAILED 3\n", FileNews(FileState.FAILED, rc=3, ours=True)),
        (b"RUNNING 17\nFAILED 143 TERM\n", FileNews(FileState.FAILED, 143, "TERM", ours=True)),
        (b"RUNNING 17\nFAILED 0 XCPU\n", FileNews(FileState.FAILED, 0, "XCPU", ours=True)),
    ],
)
def test_the_wrappers_lines_are_read(job, content, news):
    assert status(job, content) == news


@pytest.mark.parametrize(
    ("word", "state"),
    [
        (b"RUNNING", FileState.RUNNING),
        (b"3", FileState.RUNNING),
        (b"4", FileState.RUNNING),
        (b"5", FileState.RUNNING),
        (b"FINISHED", FileState.FINISHED),
        (b"finished", FileState.FINISHED),
        (b"6", FileState.FINISHED),
        (b"FAILED", FileState.FAILED),
        (b"7", FileState.FAILED),
        (b"KILLED", FileState.FAILED),
        (b"8", FileState.FAILED),
        (b"SKIPPED", FileState.SKIPPED),
        (b"9", FileState.SKIPPED),
    ],
)
def test_an_authors_words_and_numbers_are_read(job, word, state):
    news = status(job, word + b"\n")

    assert (news.state, news.ours, news.rc) == (state, False, None)


@pytest.mark.parametrize("content", [b"0\n", b"0", b" 0 \n"])
def test_an_authors_rc_is_read_beside_its_word(job, content):
    (job / "job.rc").write_bytes(content)

    assert status(job, b"FINISHED\n") == FileNews(FileState.FINISHED, rc=0)


def test_no_file_is_no_news(job):
    assert metadir.read_news(str(job)).state is FileState.ABSENT


def test_no_directory_is_no_news(job):
    assert metadir.read_news(str(job / "nowhere")).state is FileState.ABSENT


# half of it


@pytest.mark.parametrize("content", [b"", b"R", b"RUNNING 17", b"\n", b"  \n"])
def test_less_than_a_line_is_no_news_yet(job, content):
    assert status(job, content).state is FileState.ABSENT


@pytest.mark.parametrize("half", [b"F", b"FINISHED", b"FINISHED 0", b"FAILED 1"])
def test_half_a_line_leaves_the_line_before_as_the_news(job, half):
    assert status(job, b"RUNNING 17\n" + half).state is FileState.RUNNING


# hostile content


@pytest.mark.parametrize(
    "content",
    [
        b"42\n",
        b"-1\n",
        b"LOL\n",
        b"\0\0\0\n",
        bytes(range(256)) + b"\n",
        b"RUNNING\0 7\n",
        "\uff26INISHED 0\n".encode(),
        b"FINISHED0\n",
        b"\xff\xfe\n",
    ],
    ids=repr,
)
def test_what_no_wrapper_writes_is_unreadable_and_told(job, content):
    news = status(job, content)

    assert news.state is FileState.UNREADABLE
    assert news.what.startswith("job.status says ")
    assert len(news.what) < 200


@pytest.mark.parametrize(
    "rc", [b"", b"\n", b"zero\n", b"-1\n", b"0x0\n", b"0 0\n", b"\xb2\n", b"\0", b"9" * 4000]
)
def test_an_rc_that_is_none_is_no_rc(job, rc):
    (job / "job.rc").write_bytes(rc)

    news = status(job, b"FINISHED\n")

    assert news.state is FileState.FINISHED
    assert news.rc is None


@pytest.mark.parametrize("number", [b"256", b"1000", b"99999999999999999999"])
def test_a_number_that_is_no_rc_is_not_taken_for_one(job, number):
    (job / "job.rc").write_bytes(number + b"\n")

    assert status(job, b"FINISHED\n").rc is None


@pytest.mark.parametrize("number", [b"999", b"9" * 3000], ids=["999", "3000 digits"])
def test_a_line_with_a_number_that_is_no_rc_is_not_taken_for_ours(job, number):
    news = status(job, b"FINISHED " + number + b"\n")

    assert news.rc is None


def test_finished_with_another_rc_than_0_is_not_well(job):
    news = status(job, b"RUNNING 17\nFINISHED 3\n")

    assert news.rc == 3


def test_a_fifo_is_not_waited_for(job):
    os.mkfifo(job / "job.status")

    assert metadir.read_news(str(job)).state is FileState.UNREADABLE


def test_a_fifo_as_rc_is_not_waited_for(job):
    os.mkfifo(job / "job.rc")

    assert status(job, b"FINISHED\n").rc is None


def test_a_directory_is_unreadable(job):
    (job / "job.status").mkdir()

    assert metadir.read_news(str(job)).state is FileState.UNREADABLE


def test_a_symlink_is_not_followed(job):
    (job / "secret").write_text("FINISHED 0\n")
    (job / "job.status").symlink_to(job / "secret")

    assert metadir.read_news(str(job)).state is FileState.UNREADABLE


def test_a_dangling_symlink_is_unreadable(job):
    (job / "job.status").symlink_to(job / "nowhere")

    assert metadir.read_news(str(job)).state is FileState.UNREADABLE


def test_a_symlink_as_rc_is_not_followed(job):
    (job / "secret").write_text("0\n")
    (job / "job.rc").symlink_to(job / "secret")

    assert status(job, b"FINISHED\n").rc is None


def test_a_socket_is_unreadable(job, monkeypatch):
    monkeypatch.chdir(job)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("job.status")

        assert metadir.read_news(str(job)).state is FileState.UNREADABLE


def test_a_device_is_unreadable(job):
    (job / "job.status").symlink_to("/dev/zero")

    assert metadir.read_news(str(job)).state is FileState.UNREADABLE


def test_a_hundred_megabytes_are_not_read(job):
    with (job / "job.status").open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    begun = time.monotonic()

    news = metadir.read_news(str(job))

    assert news.state is FileState.UNREADABLE
    assert time.monotonic() - begun < 0.5


def test_a_file_nobody_may_read_raises_and_is_not_called_absent(job):
    if os.geteuid() == 0:
        (job / "job.status").symlink_to(job / "job.status")
        assert metadir.read_news(str(job)).state is FileState.UNREADABLE
        return
    (job / "job.status").write_bytes(b"FINISHED 0\n")
    (job / "job.status").chmod(0)

    with pytest.raises(PermissionError):
        metadir.read_news(str(job))


@given(st.binary(max_size=300))
def test_any_content_is_read_without_an_exception(content):
    news = metadir.parse_status(content)

    assert isinstance(news.state, FileState)
    assert news.rc is None or isinstance(news.rc, int)


@given(st.binary(max_size=100))
def test_an_end_needs_its_whole_line(junk):
    """Whatever else the file holds, an end that was not written to its newline is no end."""
    line = junk.replace(b"\n", b"")

    assert metadir.parse_status(b"RUNNING 1\n" + line).state is FileState.RUNNING


# writing


def test_a_script_is_the_users_own_and_can_be_executed(job):
    path = job / "job.wrapped.fake"

    metadir.write_script(str(path), "#!/bin/sh\necho 🦊\n")

    assert path.read_text() == "#!/bin/sh\necho 🦊\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_script_replaces_what_was_there_and_never_writes_through_it(job):
    (job / "victim").write_text("precious")
    path = job / "job.wrapped.fake"
    path.symlink_to(job / "victim")

    metadir.write_script(str(path), "script")

    assert not path.is_symlink()
    assert (job / "victim").read_text() == "precious"


def test_a_large_script_is_written_whole(job):
    text = "x" * 5_000_000

    metadir.write_script(str(job / "script"), text)

    assert (job / "script").stat().st_size == len(text)


def test_a_lock_holds_the_id_and_a_newline(job):
    metadir.write_lock(str(job), "slurm-1234567")
    metadir.write_lock(str(job), 42)

    assert (job / "job.lock").read_bytes() == b"42\n"


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_is_not_written_through_a_link(job, link):
    (job / "victim").write_text("precious")
    link(job / "victim", job / "job.lock")

    metadir.write_lock(str(job), 42)

    assert (job / "victim").read_text() == "precious"
    assert (job / "job.lock").read_text() == "42\n"


def test_a_lock_is_removed_once_and_again(job):
    metadir.write_lock(str(job), 1)

    metadir.remove_lock(str(job))
    metadir.remove_lock(str(job))

    assert not (job / "job.lock").exists()


def test_files_of_an_earlier_start_are_put_away_and_those_before_stay(job):
    for start in (1, 2):
        (job / "job.status").write_text(f"start {start}")
        (job / "job.stdout").write_text(f"out {start}")
        metadir.put_away(str(job), start)

    assert [path.name for path in job.iterdir()] == ["job.retry"]
    assert (job / "job.retry" / "1" / "job.stdout").read_text() == "out 1"
    assert (job / "job.retry" / "2" / "job.status").read_text() == "start 2"


def test_putting_away_twice_loses_nothing(job):
    (job / "job.status").write_text("first")
    metadir.put_away(str(job), 1)
    metadir.put_away(str(job), 1)

    assert (job / "job.retry" / "1" / "job.status").read_text() == "first"


# the root


def test_a_root_is_made_absolute_and_ignored_by_git(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    root = metadir.prepare_root("a/b")

    assert root == tmp_path / "a" / "b"
    assert (root / ".gitignore").read_text() == "*\n"
    assert [path.name for path in root.iterdir()] == [".gitignore"]


def test_a_root_that_is_a_file_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(MetadirError, match="can't be written"):
        metadir.prepare_root(tmp_path / "file")


def test_a_gitignore_of_the_users_own_stays(tmp_path):
    (tmp_path / ".gitignore").write_text("mine\n")

    metadir.prepare_root(tmp_path)

    assert (tmp_path / ".gitignore").read_text() == "mine\n"


# tails


def test_a_tail_is_the_last_lines(tmp_path):
    (tmp_path / "err").write_text("\n".join(map(str, range(1000))) + "\n")

    assert metadir.read_tail(tmp_path / "err", 3, 4096) == ["997", "998", "999"]


def test_a_tail_of_binary_is_text(tmp_path):
    (tmp_path / "err").write_bytes(b"\xff\xfe\0\nend\n")

    assert metadir.read_tail(tmp_path / "err", 5, 4096)[-1] == "end"


def test_a_tail_of_what_is_no_file_is_empty(tmp_path):
    os.mkfifo(tmp_path / "fifo")

    assert metadir.read_tail(tmp_path / "fifo", 5, 4096) == []
    assert metadir.read_tail(tmp_path, 5, 4096) == []
    assert metadir.read_tail(tmp_path / "nowhere", 5, 4096) == []
