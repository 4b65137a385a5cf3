"""However often and whenever the manager dies: nothing is lost, nothing runs twice, nothing hangs."""

import subprocess
import sys

from tests.crash.keeping import ROOT


def test_a_manager_that_dies_again_and_again_loses_nothing_repeats_nothing_and_never_hangs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.chaos", "--seconds", "15", "--jobs", "150"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    print(done.stdout)  # the seed, for whoever wants the same again
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, overlapping starts 0, hangs 0, repeated good executions 0" in done.stdout
