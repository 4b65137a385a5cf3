"""Jobs that leave traces, and processes that are found wherever they went."""

import contextlib
import os
import secrets
import signal

import pytest

from tests.faults.programs import Program, carriers
from xqute import Xqute


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where jobs leave their traces."""
    traces = tmp_path / "traces"
    traces.mkdir()
    monkeypatch.setenv("HERE", str(traces))
    return traces


@pytest.fixture
def alive(monkeypatch):
    """All processes that descend from this test, wherever they went: found by an own variable."""
    token = f"FAULT_TEST={secrets.token_hex(8)}"
    monkeypatch.setenv(*token.split("="))
    yield lambda: carriers(token)
    for _ in range(20):  # some fork while they are ended
        for pid in carriers(token):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def make(tmp_path):
    """Make an `Xqute` whose jobs end soon after they were asked to."""

    def make_xqute(**options) -> Xqute:
        return Xqute(**{"job_metadir": tmp_path / "meta", "grace": 0.3, **options})

    return make_xqute


@pytest.fixture
def start():
    """Start a program; what a failed test leaves of it is ended."""
    programs = []

    def start_program(source: str, *args, terminal: bool = False) -> Program:
        programs.append(Program(source, *args, terminal=terminal))
        return programs[-1]

    yield start_program
    for program in programs:
        program.close()
