"""`job.result`: written whole or not at all, verified when it is read."""

import importlib.machinery
import os
import pickle
import sys
import threading
import types

import pytest

from xqute.calls import cmd
from xqute.errors import MetadirError, XquteError
from xqute.inside.reprs import shown
from xqute.inside.results import read_result, write_result


class Here:
    """A class of this module, which no other process can import."""


def result_of(directory, value):
    write_result(str(directory), value)
    return read_result(str(directory / "job.result"))


def test_a_result_is_read_as_it_was_written(tmp_path):
    value = {"a": [1, 2.5, None], "b": b"\0" * 3_000_000}

    assert result_of(tmp_path, value) == value


def test_the_first_line_says_what_follows(tmp_path):
    write_result(str(tmp_path), "text")

    head, _, rest = (tmp_path / "job.result").read_bytes().partition(b"\n")

    assert head.startswith(b"xqute result 1 ")
    assert int(head.split()[4]) == len(rest)
    assert pickle.loads(rest) == "text"


@pytest.mark.parametrize("name", ["__main__", "__mp_main__", "__xqute_main__", "its_own"])
def test_classes_of_the_program_that_pushed_are_its_own(tmp_path, monkeypatch, name):
    program = types.ModuleType("__main__")
    program.__spec__ = importlib.machinery.ModuleSpec("its_own", None)  # started by `python -m its_own`
    program.Shot = type("Shot", (), {"__module__": name})
    inside = types.ModuleType(name)
    inside.Shot = program.Shot
    monkeypatch.setitem(sys.modules, name, inside)
    write_result(str(tmp_path), program.Shot())
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "__main__", program)

    assert type(read_result(str(tmp_path / "job.result"))) is program.Shot


def test_a_function_without_a_name_is_a_result_all_the_same(tmp_path):
    factor = 3

    assert result_of(tmp_path, lambda number: factor * number)(2) == 6


@pytest.mark.parametrize("how", ["cut", "longer", "changed", "not ours", "empty", "half a line"])
def test_what_is_not_whole_is_refused(tmp_path, how):
    write_result(str(tmp_path), "x" * 1000)
    path = tmp_path / "job.result"
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-1],
            "longer": content + b"x",
            "changed": content.replace(b"xx", b"yy", 1)
            if b"xx" in content[:120]
            else content[:-9] + b"y" * 9,
            "not ours": pickle.dumps("x"),
            "empty": b"",
            "half a line": content[:50],
        }[how]
    )

    with pytest.raises(MetadirError, match=r"job\.result"):
        read_result(str(path))


@pytest.mark.parametrize("what", ["nothing", "link", "pipe", "folder"])
def test_only_a_regular_file_is_a_result(tmp_path, what):
    write_result(str(tmp_path), "elsewhere")
    path = tmp_path / "other" / "job.result"
    path.parent.mkdir()
    match what:
        case "link":
            path.symlink_to(tmp_path / "job.result")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()

    with pytest.raises(MetadirError, match="there is no result at"):
        read_result(str(path))


def test_a_result_that_can_not_be_pickled_leaves_its_text(tmp_path):
    with pytest.raises(
        XquteError, match=r"the result, a lock, can't be pickled: .*its text is in job.result.txt"
    ):
        write_result(str(tmp_path), threading.Lock())

    assert "lock" in (tmp_path / "job.result.txt").read_text()
    assert not (tmp_path / "job.result").exists()


@pytest.mark.parametrize(
    "hold",
    [
        lambda call: call,
        lambda call: [call],
        lambda call: {"a": (1, {call})},
        lambda call: types.SimpleNamespace(held=call),
        lambda call: [lambda: 1, call],
        lambda call: lambda: call,
    ],
    ids="itself list deep object beside-a-lambda closure".split(),
)
def test_a_call_in_a_result_is_refused_wherever_it_stands(tmp_path, hold):
    with pytest.raises(XquteError) as raised:
        write_result(str(tmp_path), hold(cmd("echo", 1)))

    assert str(raised.value) == (
        "the result holds the call cmd('echo', 1), which nobody would run: give it to another call, or return"
        " what current_job().require([…]) gives for it"
    )
    assert not (tmp_path / "job.result").exists()


def test_a_result_can_not_be_planted(tmp_path):
    (tmp_path / "victim").write_text("precious")
    for name in ("job.result.part", "job.result.txt"):
        (tmp_path / name).symlink_to(tmp_path / "victim")

    assert result_of(tmp_path, "mine") == "mine"
    assert (tmp_path / "victim").read_text() == "precious"


class TestInAJob:
    def test_an_unpicklable_result_fails_the_job_clearly(self, host):
        host.module("import threading\ndef work(): return threading.Lock()")

        job = host.call("work")

        assert job.rc == 1
        assert not job.has_result
        assert job.stderr.startswith("xqute: the result, a lock, can't be pickled")
        assert "lock" in job.text("job.result.txt")

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("def work(): yield 1", "the result is the generator work"),
            ("async def work(): yield 1", "the result is the generator work"),
            (
                "async def work(): return other()\nasync def other(): pass",
                "the result is the coroutine other",
            ),
        ],
        ids=["generator", "asynchronous generator", "coroutine"],
    )
    def test_what_ends_with_the_process_is_refused_with_a_sentence(self, host, text, told):
        host.module(text)

        job = host.call("work")

        assert job.rc == 1
        assert job.stderr.startswith(f"xqute: {told}, which ends with the job's process: ")
        assert not job.has_result

    def test_a_hundred_megabytes_are_no_trouble(self, host):
        # 300 MB in all: the interpreter, the value, and no second copy of it.
        host.module("""
            import resource

            def work():
                value = b"x" * 100_000_000
                resource.setrlimit(resource.RLIMIT_DATA, (180_000_000, 180_000_000))
                return value
        """)

        job = host.call("work")

        assert len(job.result) == 100_000_000
        assert len(job.text("job.result.txt")) <= 4096

    def test_many_parts_of_a_hundred_megabytes_are_no_trouble(self, host):
        host.module("""
            import resource

            def work():
                value = [b"%d" % n * 1_000_000 for n in range(10, 60)]
                resource.setrlimit(resource.RLIMIT_DATA, (180_000_000, 180_000_000))
                return value
        """)

        assert sum(map(len, host.call("work").result)) == 100_000_000


class Loud:
    def __repr__(self):
        raise RuntimeError("no")


class TestShown:
    @pytest.mark.parametrize(
        "value",
        [1, "a'b", b"x", [], [1], (), (1,), (1, 2), {}, {"a": [1]}, {1}, set(), frozenset({1}), None, Here],
        ids=repr,
    )
    def test_a_small_value_is_shown_as_its_repr(self, value):
        assert shown(value, 1000) == repr(value)

    @pytest.mark.parametrize(
        "value",
        ["x" * 10**6, [1] * 10**6, {n: n for n in range(10**5)}, [[["x" * 10**4] * 100] * 100] * 100],
        ids=["text", "list", "dictionary", "nested"],
    )
    def test_a_large_value_is_cut(self, value):
        text = shown(value, 100)

        assert len(text) == 100
        assert text.endswith("…")

    def test_what_holds_itself_is_shown(self):
        value: list = [1]
        value.append(value)

        assert shown(value, 100).startswith("[1, [1, [1")

    def test_a_repr_that_raises_is_told(self):
        assert shown([Loud()], 100) == "[<Loud, whose repr raised RuntimeError>]"
