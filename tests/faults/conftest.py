"""Programs and producers whose jobs end soon."""

import pytest

from tests.faults.programs import Program
from xqute import Xqute


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
