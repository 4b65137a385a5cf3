"""Managers at a real Slurm that are killed at random while its controller comes and goes."""

import random
import subprocess
import time
from collections import Counter

import pytest

from tests.crash.sessions import Sessions
from tests.live.clusters import HERE, run

pytestmark = pytest.mark.live

JOBS, KILLS = 150, 8

#: Says that it runs, and whether another execution of the same job does.
JOB = (
    'exec 9>"$1/lock.$2"; flock -n 9 || echo "$2" >>"$1/overlaps"; '
    'echo "$2" >>"$1/executions"; sleep "$3" 9>&-; echo "$2" >>"$1/good"'
)

TEXT = f"""
xqute = make(scheduler="slurm", scheduler_rate=None, scheduler_forks=40, resume=True)
xqute.scheduler.poll_seconds, xqute.scheduler.grace_seconds = 2.0, 10.0
await xqute.push_many(
    [["sh", "-c", {JOB!r}, "job", HERE, n, n % 7 / 2] for n in range({JOBS})]
)
report = await xqute.run_until_complete()
tell(ok=report.ok, counts={{status.name: count for status, count in report.counts.items()}})
"""


@pytest.fixture
def sessions(here, slurm_clients):
    made = Sessions(here)
    yield made
    made.close()
    subprocess.run(["scancel", "--user=root"], check=False)


def lines(sessions, name):
    file = sessions.here / name
    return Counter(file.read_text().split()) if file.exists() else Counter()


def test_nothing_is_lost_and_nothing_runs_twice(sessions, request):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for kill in range(KILLS):
        session = sessions.start(TEXT)
        time.sleep(chance.uniform(0.4, 3.0))
        away = kill % 3 == 2
        if away:
            run(HERE / "slurm", "ctld-stop")
            time.sleep(chance.uniform(0.0, 1.0))
        session.kill()
        session.communicate()
        if away:
            run(HERE / "slurm", "ctld-start")

    said = sessions.end(sessions.start(TEXT), 200)

    assert said.code == 0, said.err
    assert said.facts == {"ok": True, "counts": {"FINISHED": JOBS}}, said.err
    everything = Counter(str(n) for n in range(JOBS))
    assert lines(sessions, "good") == everything
    assert lines(sessions, "executions") == everything
    assert not lines(sessions, "overlaps")
