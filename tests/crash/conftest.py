"""Sessions of a script, and the processes they leave behind."""

import contextlib
import os
import secrets
import signal

import pytest

from tests.crash.sessions import Sessions
from tests.faults.programs import carriers


@pytest.fixture
def alive(monkeypatch):
    """All processes that descend from this test, wherever they went: found by an own variable."""
    token = f"CRASH_TEST={secrets.token_hex(8)}"
    monkeypatch.setenv(*token.split("="))
    yield lambda: carriers(token)
    for _ in range(20):  # some fork while they are ended
        for pid in carriers(token):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def sessions(tmp_path, monkeypatch, alive):
    """Sessions of one script, whose jobs leave their traces in a directory."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("HERE", str(here))
    made = Sessions(here)
    yield made
    made.close()
