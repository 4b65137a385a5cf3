"""Sessions of a script, and the processes they leave behind."""

import pytest

from tests.crash.sessions import Sessions


@pytest.fixture
def sessions(tmp_path, monkeypatch, alive):
    """Sessions of one script, whose jobs leave their traces in a directory."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("HERE", str(here))
    made = Sessions(here)
    yield made
    made.close()
