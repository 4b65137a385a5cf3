"""`job.error`: what a call raised, for people and for programs."""

import base64
import os
import pickle

import pytest

from xqute.inside.failing import ERROR_MAX_BYTES, describe, read_error, write_error


class Odd(Exception):
    """Pickles, and does not unpickle."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def raised(function, *args) -> BaseException:
    try:
        function(*args)
    except BaseException as exc:  # noqa: BLE001
        return exc
    pytest.fail("nothing was raised")


def fail_with(exc):
    raise exc


def dive(depth):
    weight = "x" * 900
    assert weight
    if depth:
        dive(depth - 1)
    raise ValueError("deep")


class TestInAJob:
    def test_an_exception_is_kept_with_all_that_helps(self, host):
        host.module("""
            def outer(number):
                return inner(number, "text")

            def inner(number, text):
                large = "x" * 5000
                return number / 0
        """)

        job = host.call("outer", 3)

        error = job.error
        outer, inner = error["frames"]
        assert job.rc == 1
        assert not job.has_result
        assert (error["module"], error["type"], error["message"]) == (
            "builtins",
            "ZeroDivisionError",
            "division by zero",
        )
        assert (outer["function"], outer["line"]) == ("outer", 3)
        assert (inner["function"], inner["file"]) == ("inner", f"{host.code}/work.py")
        assert inner["context"] == [
            [5, "def inner(number, text):"],
            [6, '    large = "x" * 5000'],
            [7, "    return number / 0"],
        ]
        assert inner["locals"]["number"] == "3"
        assert inner["locals"]["text"] == "'text'"
        assert len(inner["locals"]["large"]) <= 1024
        assert isinstance(pickle.loads(base64.b64decode(error["pickle"])), ZeroDivisionError)

    def test_its_traceback_is_on_stderr_and_begins_with_the_function(self, host):
        host.module("def work():\n    raise ValueError('no')")

        job = host.call("work")

        assert job.stderr == job.error["text"]
        assert job.stderr.splitlines() == [
            "Traceback (most recent call last):",
            f'  File "{host.code}/work.py", line 2, in work',
            "    raise ValueError('no')",
            "ValueError: no",
        ]

    def test_causes_and_contexts_are_chained(self, host):
        host.module("""
            def work():
                try:
                    try:
                        {}["a"]
                    except KeyError:
                        1 / 0
                except ZeroDivisionError as exc:
                    raise ValueError("no") from exc
        """)

        error = host.call("work").error

        cause = error["cause"]
        context = cause["cause"]
        assert (cause["type"], cause["how"]) == ("ZeroDivisionError", "cause")
        assert (context["type"], context["how"]) == ("KeyError", "context")
        assert context["cause"] is None
        assert cause["frames"][0]["line"] == 7

    def test_a_suppressed_context_is_none(self, host):
        host.module("""
            def work():
                try:
                    1 / 0
                except ZeroDivisionError:
                    raise ValueError("no") from None
        """)

        assert host.call("work").error["cause"] is None

    def test_an_exception_of_a_script_goes_by_the_name_it_has_there(self, host):
        path = host.script("""
            class Mine(Exception): pass

            def work():
                raise Mine("no")
        """)

        error = host.call({"file": str(path), "qualname": "work"}).error

        assert (error["module"], error["type"]) == ("__main__", "Mine")
        assert error["pickle"] is not None

    def test_an_exception_that_can_not_be_pickled_is_described_all_the_same(self, host):
        host.module("""
            import threading

            class Locked(Exception):
                def __init__(self):
                    super().__init__("locked")
                    self.lock = threading.Lock()

            async def work():
                raise Locked
        """)

        error = host.call("work").error

        assert (error["type"], error["message"], error["pickle"]) == ("Locked", "locked", None)

    @pytest.mark.parametrize("what", ["KeyboardInterrupt", "BaseException", "GeneratorExit"])
    def test_whatever_is_raised_fails_the_job(self, host, what):
        host.module(f"def work(): raise {what}('no')")

        job = host.call("work")

        assert job.rc == 1
        assert job.error["type"] == what


def test_an_exception_that_does_not_unpickle_is_not_kept_as_one():
    assert describe(raised(fail_with, Odd(1, 2)))["pickle"] is None


def test_a_message_that_can_not_be_had_is_told():
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError("no")

    assert "can't be had: RuntimeError" in describe(raised(fail_with, Silent()))["message"]


def test_a_chain_without_end_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first

    error = describe(raised(fail_with, first))

    depth = 0
    while error is not None:
        error, depth = error["cause"], depth + 1
    assert 2 <= depth <= 20


def test_a_deep_traceback_fits(tmp_path):
    error = describe(raised(dive, 500))
    write_error(str(tmp_path), error)

    kept = read_error(str(tmp_path / "job.error"))

    assert (tmp_path / "job.error").stat().st_size <= ERROR_MAX_BYTES
    assert kept["message"] == "deep"
    assert kept["frames"][0]["function"] == "raised"
    assert kept["frames"][-1]["function"] == "dive"


def test_a_heavy_chain_fits(tmp_path):
    def chain(depth):
        names = {f"name{n}": "x" * 2000 for n in range(40)}
        locals().update(names)
        a = b = c = d = e = f = g = h = "x" * 2000
        try:
            dive(40)
        except ValueError as exc:
            if depth:
                try:
                    chain(depth - 1)
                except ValueError as other:
                    raise other from exc
            raise
        return a, b, c, d, e, f, g, h

    error = describe(raised(chain, 8))
    write_error(str(tmp_path), error)

    assert (tmp_path / "job.error").stat().st_size <= ERROR_MAX_BYTES
    assert read_error(str(tmp_path / "job.error"))["message"] == "deep"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"text"', b"{}", b'{"type": 3}', b"\xff", b"x" * (2 << 20)]
)
def test_garbage_is_no_error(tmp_path, content):
    (tmp_path / "job.error").write_bytes(content)

    assert read_error(str(tmp_path / "job.error")) is None


@pytest.mark.parametrize("what", ["nothing", "link", "pipe", "folder"])
def test_only_a_regular_file_is_read(tmp_path, what):
    write_error(str(tmp_path), describe(ValueError("planted")))
    path = tmp_path / "error"
    match what:
        case "link":
            path.symlink_to(tmp_path / "job.error")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()

    assert read_error(str(path)) is None
