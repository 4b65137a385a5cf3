"""Jobs that count their executions, and what somebody does to them."""

import subprocess

SECONDS = 60


def counting(tmp_path, then="true"):
    return f"echo ran >>'{tmp_path}/ran'; {then}"


def holding(tmp_path, before="true"):
    """A command that counts its executions, and ends when it is let go."""
    return counting(tmp_path, f"{before}; until [ -e '{tmp_path}/go' ]; do sleep 0.02; done")


def runs(tmp_path):
    ran = tmp_path / "ran"
    return len(ran.read_text().split()) if ran.exists() else 0


def well(jobs):
    return {(job.status.name, job.start, job.attempt) for job in jobs} == {("FINISHED", 1, 1)}


def by_hand(cluster, *words):
    """Run a command of the cluster, as somebody at a shell does."""
    subprocess.run([cluster.bin / words[0], *words[1:]], check=True, capture_output=True)
