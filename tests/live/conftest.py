"""Real systems for the live tests: started by the scripts beside this file, once for all tests."""

import os
import shlex
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


@pytest.fixture
def slurm_clients(slurm_conf, monkeypatch):
    """Its commands find it; the directory of its configuration."""
    monkeypatch.setenv("SLURM_CONF", slurm_conf)
    return Path(slurm_conf).parent


@pytest.fixture(scope="session")
def sge_cell():
    """The environment of a Grid Engine that runs: started if need be, and left running."""
    if os.geteuid() != 0 or (not Path("/usr/lib/gridengine").is_dir() and not os.environ.get("CI")):
        pytest.skip("needs root and Grid Engine's packages; tests/live/sge up installs them")
    done = subprocess.run([HERE / "sge", "up"], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        pytest.fail(f"tests/live/sge up: {done.stderr}")
    words = shlex.split(done.stdout.replace('"$PATH"', "$PATH"))[1:]
    return dict(word.split("=", 1) for word in words)


@pytest.fixture
def sge_clients(sge_cell, monkeypatch):
    """Its commands are on PATH."""
    for name, value in sge_cell.items():
        monkeypatch.setenv(name, value.replace("$PATH", os.environ["PATH"]))
