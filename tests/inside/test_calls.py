"""A Python call in its own process: the function is found, called, and what it returned is written."""

import functools
import stat
import sys

import pytest


@pytest.mark.parametrize(
    "value",
    [None, 0, "text", b"\0bytes", ["list", {"of": ("many", 1.5)}], {1, 2}, "ü\udcff\n"],
    ids=str,
)
def test_what_a_function_returns_is_the_result(host, value):
    host.module("def give(value): return value")

    job = host.call("give", value)

    assert job.rc == 0
    assert job.result == value


def test_arguments_arrive_by_position_and_by_name(host):
    host.module("def show(*args, **kwargs): return args, kwargs")

    assert host.call("show", 1, [2], three=3).result == ((1, [2]), {"three": 3})


def test_a_result_is_written_beside_for_people(host):
    host.module("def give(value): return value")

    job = host.call("give", {"a": [1, 2]})

    assert job.text("job.result.txt") == "{'a': [1, 2]}"
    assert stat.S_IMODE((job.directory / "job.result").stat().st_mode) == 0o600


def test_nothing_is_written_for_people_when_nothing_was_returned(host):
    host.module("def work(): pass")

    assert not (host.call("work").directory / "job.result.txt").exists()


def test_an_asynchronous_function_is_awaited(host):
    host.module("""
        import asyncio

        async def double(number):
            await asyncio.sleep(0)
            return 2 * number
    """)

    assert host.call("double", 4).result == 8


def test_a_decorated_asynchronous_function_is_awaited(host):
    host.module("""
        import functools

        def checked(fn):
            @functools.wraps(fn)
            def wrapper(*args):
                return fn(*args)
            return wrapper

        @checked
        async def double(number):
            return 2 * number
    """)

    assert host.call("double", 4).result == 8


def test_a_task_stands_for_its_function(host):
    host.module("""
        from xqute import task

        @task(retries=2)
        def double(number):
            return 2 * number
    """)

    assert host.call("double", 4).result == 8


def test_a_method_of_a_class_is_found_by_its_qualified_name(host):
    host.module("""
        class Numbers:
            @staticmethod
            def double(number):
                return 2 * number
    """)

    assert host.call("work:Numbers.double", 4).result == 8


def test_a_partial_goes_by_value(host):
    partial = functools.partial(max, 3)

    assert host.call(host.by_value(partial), 2).result == 3


def test_a_closure_goes_by_value(host):
    factor = 3

    assert host.call(host.by_value(lambda number: factor * number), 2).result == 6


def test_a_function_of_a_script_is_called_without_running_the_script(host):
    path = host.script("""
        def double(number):
            return 2 * number

        if __name__ == "__main__":
            raise SystemExit("the script ran")
    """)

    job = host.call({"file": str(path), "qualname": "double"}, 4)

    assert job.result == 8
    assert sorted(path.parent.iterdir()) == [path]  # nothing of Python's beside it


def test_a_script_finds_no_arguments_of_a_job(host):
    path = host.script("import sys\nARGUMENTS = list(sys.argv)\ndef show(): return ARGUMENTS")

    assert host.call({"file": str(path), "qualname": "show"}).result == [str(path)]


def test_a_class_of_a_script_is_known_on_both_sides(host):
    path = host.script("""
        class Point:
            def __init__(self, x):
                self.x = x

        def moved(point):
            return Point(point.x + 1)
    """)
    main = sys.modules["__main__"]
    space: dict = {"__name__": "__main__"}
    exec(path.read_text(), space)
    main.Point = space["Point"]
    try:
        job = host.call({"file": str(path), "qualname": "moved"}, main.Point(1))

        assert type(job.result) is main.Point
        assert job.result.x == 2
    finally:
        del main.Point


def test_a_script_without_a_guard_is_told_so(host):
    path = host.script("""
        import sys

        def double(number):
            return 2 * number

        from xqute.inside import loading
        if loading.importing_main:
            print("being imported")
        sys.exit(double(2))
    """)

    job = host.call({"file": str(path), "qualname": "double"}, 4)

    assert job.rc == 1
    assert job.stdout == "being imported\n"
    assert job.stderr.startswith(f"xqute: importing {path} for one of its functions ended the process")
    assert 'if __name__ == "__main__":' in job.stderr


def test_a_program_started_as_a_module_is_imported_as_one(host):
    host.module("def double(number): return 2 * number")
    host.main = {"module": "work"}

    assert host.call("work:double", 4).result == 8


def test_modules_are_found_where_the_submitter_finds_them(host):
    host.module("import sys\ndef path(): return sys.path, sys.modules['__main__'].__file__")

    path, start = host.call("path").result

    assert path[0] == str(host.code)
    assert start.endswith("inside/start.py")
    assert not [entry for entry in path if entry.endswith("/inside")]


def test_modules_of_inside_are_in_nobodys_way(host):
    host.module("MINE = True", name="logs")
    host.module("import logs\ndef mine(): return logs.MINE")

    assert host.call("mine").result is True


def test_another_version_of_python_is_refused(host):
    host.module("def work(): pass")
    host.version = [3, 4]

    job = host.call("work")

    ours = ".".join(map(str, sys.version_info[:2]))
    assert job.rc == 1
    assert f"was pushed by Python 3.4, and this is Python {ours}" in job.stderr
    assert "Traceback" not in job.stderr
    assert job.error["type"] == "XquteError"


def test_a_place_that_is_gone_is_told(host):
    host.module("def work(): pass")
    script = host.start("work").wait().text("job.wrapped.local")
    host.place_file.unlink()
    job = host.started[-1]
    for name in ("job.status", "job.rc", "job.result"):
        (job.directory / name).unlink(missing_ok=True)

    again = type(job)(job.directory, job.directory / "job.wrapped.local", dict(host.env)).wait()

    assert script == again.text("job.wrapped.local")
    assert again.rc == 1
    assert "push it again" in again.stderr
    assert not again.has_result


def test_a_function_that_was_renamed_is_told(host):
    host.module("def other(): pass")

    job = host.call("work:missing")

    assert job.rc == 1
    assert job.stderr == "xqute: work has no missing any more: it was renamed or removed since the push\n"


@pytest.mark.parametrize("defined", ["def late(): pass", "late = print", "class late: pass"])
def test_a_function_below_the_guard_is_told_to_be_there(host, defined):
    script = host.script(f'if __name__ == "__main__":\n    {defined}\n')

    job = host.call({"file": str(script), "qualname": "late"})

    assert job.rc == 1
    assert job.stderr == (
        f'xqute: {script} has late below `if __name__ == "__main__":`, where a job does not find it: '
        "define it above that line\n"
    )


def test_a_function_that_a_script_has_no_more_is_told_to_be_gone(host):
    script = host.script('if __name__ == "__main__":\n    late()\n')

    job = host.call({"file": str(script), "qualname": "late"})

    assert job.stderr.startswith(f"xqute: {script} has no late any more")


def test_a_module_that_can_not_be_imported_shows_its_own_traceback(host):
    host.module("import json\njson.nothing")

    job = host.call("work")

    assert job.rc == 1
    assert job.stderr.splitlines()[1] == f'  File "{host.code}/work.py", line 2, in <module>'
    assert job.error["type"] == "AttributeError"


@pytest.mark.parametrize("how", ["def", "async def"])
@pytest.mark.parametrize(("code", "rc"), [("", 0), ("0", 0), ("3", 3), ("'no'", 1), ("256", 1)])
def test_leaving_by_sys_exit_counts_as_its_code_says(host, how, code, rc):
    host.module(f"import sys\n{how} leave(): sys.exit({code})")

    job = host.call("leave")

    assert job.rc == rc
    assert job.has_result == (rc == 0)


def test_what_is_printed_is_seen_at_once(host):
    host.module("""
        import os

        def work():
            print("before")
            os._exit(3)
    """)

    job = host.call("work")

    assert job.rc == 3
    assert job.stdout == "before\n"


def test_output_that_can_not_be_written_is_a_failure(host):
    host.module("""
        import os

        def work():
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
            print("lost")
    """)

    assert host.call("work").rc != 0


class TestNeeds:
    def test_results_take_the_place_of_needs(self, host):
        host.module("def show(*args, **kwargs): return args, kwargs")
        needs = [host.result(3, {"a": 1}), host.output(4, b"printed\n\n"), [5, "skipped"]]

        job = host.call("show", host.Need(1), [host.Need(0)], x=host.Need(2), needs=needs)

        assert job.result == (("printed", [{"a": 1}]), {"x": None})

    def test_a_need_used_twice_is_one_object(self, host):
        host.module("def same(a, b): return a is b")

        assert host.call("same", host.Need(0), host.Need(0), needs=[host.result(3, [1])]).result is True

    def test_output_is_text_whatever_the_bytes(self, host):
        host.module("def show(text): return text")

        assert host.call("show", host.Need(0), needs=[host.output(3, b"\xff\n")]).result == "\udcff"

    def test_a_need_whose_result_is_gone_is_told(self, host):
        host.module("def show(text): return text")

        job = host.call("show", host.Need(0), needs=[[3, "result"]])

        assert job.rc == 1
        assert job.stderr.startswith(f"xqute: there is no result at {host.root}/3/job.result")

    def test_a_need_whose_output_is_gone_is_told(self, host):
        host.module("def show(text): return text")

        job = host.call("show", host.Need(0), needs=[[3, str(host.root / "nothing")]])

        assert job.rc == 1
        assert "the output of job 3, which this one needs, is not at" in job.stderr

    def test_a_damaged_result_is_no_result(self, host):
        host.module("def show(value): return value")
        needs = [host.result(3, "x" * 100)]
        path = host.root / "3" / "job.result"
        path.write_bytes(path.read_bytes().replace(b"xxx", b"yyy", 1))

        job = host.call("show", host.Need(0), needs=needs)

        assert job.rc == 1
        assert "is damaged" in job.stderr


class TestSkip:
    def test_a_call_may_have_nothing_to_do(self, host):
        host.module("from xqute.errors import Skip\ndef work(): raise Skip('nothing new')")

        job = host.call("work")

        assert job.rc == 0
        assert job.events == ["skip nothing new"]
        assert not job.has_result
        assert job.stderr == ""

    def test_no_reason_needs_to_be_given(self, host):
        host.module("from xqute.errors import Skip\nasync def work(): raise Skip")

        job = host.call("work")

        assert (job.rc, job.events) == (0, ["skip"])


class TestLean:
    """Every fresh process pays for what is imported before the function is."""

    def modules(self, host, text: str) -> set[str]:
        host.module(f"import sys\n{text}")
        return set(host.call("work").result)

    def test_a_call_imports_little(self, host):
        found = self.modules(host, "def work(): return sorted(sys.modules)")

        heavy = {"asyncio", "dataclasses", "inspect", "subprocess", "tempfile", "pathlib", "cloudpickle"}
        assert not found & heavy
        ours = {name for name in found if name.startswith("xqute.")}
        assert "xqute.options" not in ours
        assert len(ours) <= 14
        # what Python itself loads differs between versions and hosts (.pth files): about 40
        assert len(found) <= 125

    def test_only_an_asynchronous_call_imports_asyncio(self, host):
        assert "asyncio" in self.modules(host, "async def work(): return sorted(sys.modules)")


class TestCleanup:
    """The same payload with `undoes` calls the cleanup function of the task, for a job that is over."""

    @pytest.fixture
    def undo(self, host):
        def undo(text: str, *args, needs=(), **kwargs):
            host.module(f"from xqute import task\n{text}")
            work = host.payload("work", *args, **kwargs)
            work["function"] |= {"undoes": 5, "task": "build"}
            return host.begin(work, needs, {}, 1).wait()

        return undo

    def test_it_is_called_with_the_job(self, host, undo):
        text = """
@task
def work(path, kind=None): raise AssertionError("the task ran")

@work.cleanup
def remove(job): return job.id, str(job.metadir), job.args, job.kwargs
"""

        job = undo(text, "/a", kind="b")

        assert job.result == (5, str(host.root / "5"), ("/a",), {"kind": "b"})

    def test_what_the_job_needed_may_never_have_been_there(self, host, undo):
        text = """
@task
def work(*args): pass

@work.cleanup
async def remove(job): return job.args
"""

        assert undo(text, 1, [host.Need(0)]).result == (1, [None])

    def test_a_cleanup_function_that_is_gone_is_told(self, undo):
        job = undo("@task\ndef work(): raise AssertionError")

        assert job.rc == 1
        assert job.stderr == "xqute: build has no cleanup function any more\n"
