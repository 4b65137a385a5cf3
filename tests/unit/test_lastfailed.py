"""What failed in one of the parts of `make test` is what `--lf` runs again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path):
    """As much of one as `make tests` needs, with one test in each part."""
    for name, text in (("first", "assert 0"), ("live", "assert 0"), ("others", "pass")):
        folder = tmp_path / "tests" / name
        folder.mkdir(parents=True)
        (folder / f"test_{name}.py").write_text(f"def test_{name}():\n    {text}\n")
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "tests" / "lastfailed.py", tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    return tmp_path


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_what_failed_in_parts_that_run_side_by_side_is_run_again(checkout):
    how = {"cwd": checkout, "capture_output": True, "text": True, "timeout": 120}
    how["env"] = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTEST"))
    }
    parts = ["TESTS_FIRST=tests/first", "TESTS_LIVE=tests/live", f"BIN={Path(sys.executable).parent}"]

    made = subprocess.run(["make", "tests", *parts, "-o", ".venv/.dev"], check=False, **how)
    again = subprocess.run([sys.executable, "-m", "pytest", "--lf", "-q"], check=False, **how)

    assert "failed, see above: tests/first, tests/live" in made.stderr
    assert "2 failed" in again.stdout
    assert "passed" not in again.stdout
