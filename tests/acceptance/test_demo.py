"""The demo does what it says, as a user would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def demo(tmp_path):
    """Run the demo in an empty directory, without a terminal."""

    def run(*arguments, path=os.environ["PATH"]):
        environ = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
        command = [sys.executable, "-W", "error", ROOT / "examples/demo.py", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False
        )

    return run


def rows(table):
    """The rows of a table: the first cell, and the second."""
    cells = (line.split("│")[1:3] for line in table.splitlines() if "│" in line)
    return {name.strip(): value.strip() for name, value in cells if name.strip()}


def test_the_demo_ends_as_designed_and_says_so(demo, tmp_path):
    ended = demo("--limit", "30", "--forks", "4")

    assert ended.returncode == 0, ended.stderr
    table = rows(ended.stdout)
    assert (table["jobs"], table["failures"], table["retries"]) == ("31", "1", "7")
    assert {"time", "jobs/s", "bytes", "the five slowest"} <= table.keys()
    assert table["job directories"] == ".xqute-demo/<job>"
    assert len(list(tmp_path.glob(".xqute-demo/*/module.gz"))) == 31
    assert (tmp_path / ".xqute-demo/.gitignore").read_text() == "*\n"


def test_the_progress_of_a_piped_demo_is_plain_lines_on_stderr(demo):
    ended = demo("--limit", "10")

    lines = ended.stderr.splitlines()
    assert all(line.startswith("xqute: ") for line in lines)
    assert "attempt 2 of 3" in ended.stderr
    assert any(line.startswith("xqute: 10 finished · 1 failed · 7 retries in") for line in lines)


def test_a_second_demo_removes_what_the_first_left_and_nothing_else(demo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis").write_text("done")

    first, second = demo("--limit", "1"), demo("--limit", "1")
    refused = demo("--limit", "1", "--metadir", "mine")

    assert "removing" not in first.stdout
    assert "removing .xqute-demo of the demo before" in second.stdout
    assert refused.returncode == 1
    assert "mine is not empty" in refused.stderr
    assert (tmp_path / "mine/thesis").read_text() == "done"


def test_a_missing_tool_is_named(demo, tmp_path):
    ended = demo(path=str(tmp_path))

    assert ended.returncode == 1
    assert ended.stderr == "demo: gzip is needed, and not on the PATH\n"


def test_what_is_not_as_designed_is_told_with_the_exit_status(demo, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sha256sum").write_text("#!/bin/sh\necho 0123\n")
    (tools / "sha256sum").chmod(0o755)

    ended = demo("--limit", "6", path=f"{tools}:{os.environ['PATH']}")

    assert ended.returncode == 1
    assert ended.stderr.count("lost something") == 6
