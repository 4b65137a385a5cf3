"""In CI, a live test that was skipped has failed: nothing may be missing there unseen."""

import contextlib
import os
import re
import secrets
import signal
import tempfile
from pathlib import Path

import pytest

from tests.traces import carriers
from xqute.engine import unawaited

# A shell's background job, or nohup, ignores these, and so would every program the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def fail_instead_of_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: a live test may not be skipped when CI is set\n{reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    expected_to_fail = hasattr(report, "wasxfail")
    if in_ci() and report.skipped and not expected_to_fail and item.get_closest_marker("live"):
        fail_instead_of_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """A whole module may skip itself, before its tests and their marks are known."""
    report = yield
    if in_ci() and report.skipped and isinstance(collector, pytest.Module):
        text = collector.path.read_text("utf-8")
        if re.search(r"\bmark\.live\b", text):
            fail_instead_of_skip(report)
    return report


def pytest_sessionfinish(session):
    """Jobs that tests push and leave are no news at the end of a test run."""
    unawaited.forget_all()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where jobs leave their traces."""
    traces = tmp_path / "traces"
    traces.mkdir()
    monkeypatch.setenv("HERE", str(traces))
    return traces


@pytest.fixture
def anybodys():
    """A directory of which every user may make use: a pytest that starts takes that from its own again."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        yield Path(directory)


@pytest.fixture
def alive(monkeypatch):
    """All processes that descend from this test, wherever they went: found by an own variable."""
    mark = f"XQUTE_TEST={secrets.token_hex(8)}"
    monkeypatch.setenv(*mark.split("="))
    yield lambda: carriers(mark)
    for _ in range(20):  # some fork while they are ended
        for pid in carriers(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
