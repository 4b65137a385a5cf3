"""Sessions of a script, and the processes they leave behind."""

import pytest

from tests.crash.sessions import Sessions


@pytest.fixture
def sessions(here, alive):
    """Sessions of one script, whose jobs leave their traces in a directory."""
    made = Sessions(here)
    yield made
    made.close()
