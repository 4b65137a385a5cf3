"""Real systems for the live tests: started by the scripts beside this file, once for all tests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def slurm_conf():
    """A running Slurm, started if need be and left running; the path of its configuration."""
    if os.geteuid() != 0 or (shutil.which("slurmctld") is None and not os.environ.get("CI")):
        pytest.skip("needs root and Slurm's packages; tests/live/slurm up installs them")
    done = subprocess.run([HERE / "slurm", "up"], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        pytest.fail(f"tests/live/slurm up: {done.stderr}")
    return done.stdout.strip().partition("SLURM_CONF=")[2]
