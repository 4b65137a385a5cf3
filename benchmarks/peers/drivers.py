"""One function per peer, run by the Python of that peer's own environment, in an empty directory.

`python drivers.py NAME JOBS FORKS COMMAND…` runs the command so often, asking for as much of each job's
return code and output as the peer can keep. It writes `result.json`: the seconds from the first submit to
the last result, and the seconds before, from its own first line until the peer could take jobs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

BEGUN = time.perf_counter()
COMMAND = sys.argv[4:]
READY = 0.0


def ready() -> None:
    """The peer can take jobs: the clock starts."""
    global READY  # noqa: PLW0603
    READY = time.perf_counter()


def taken() -> float:
    return time.perf_counter() - READY


def all_zero(codes: Iterable[int | None], jobs: int) -> None:
    """A peer that lost a job, or ran one in vain, has no figure."""
    ended = list(codes)
    if len(ended) != jobs or any(code != 0 for code in ended):
        raise SystemExit(f"{sum(code == 0 for code in ended)} of {jobs} jobs ended well")


def xqute(jobs: int, forks: int) -> float:
    from xqute import JobStatus, Xqute

    async def run() -> float:
        xq = Xqute(job_metadir="jobs", scheduler_forks=forks)
        ready()
        await xq.push_many([COMMAND] * jobs)
        report = await xq.run_until_complete()
        seconds = taken()
        if report.counts != {JobStatus.FINISHED: jobs}:
            raise SystemExit(f"not all jobs finished: {report}")
        return seconds

    return asyncio.run(run())


def xqute2(jobs: int, forks: int) -> float:
    from xqute import Xqute

    async def run() -> float:
        xq = Xqute(workdir="jobs", forks=forks)
        ready()
        for _ in range(jobs):
            await xq.feed(COMMAND)
        await xq.run_until_complete()
        return taken()

    seconds = asyncio.run(run())
    all_zero((int(file.read_text()) for file in Path("jobs").glob("*/job.rc")), jobs)
    return seconds


def parsl(jobs: int, forks: int) -> float:
    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
    executor = HighThroughputExecutor(max_workers_per_node=forks, provider=provider, address="127.0.0.1")

    @parsl.bash_app
    def job(line: str, stdout: object = parsl.AUTO_LOGNAME, stderr: object = parsl.AUTO_LOGNAME) -> str:
        return line

    with parsl.load(Config(executors=[executor], strategy="none", usage_tracking=0)):
        all_zero([future.result() for future in [job(" ".join(COMMAND)) for _ in range(forks)]], forks)
        ready()
        futures = [job(" ".join(COMMAND)) for _ in range(jobs)]
        codes = [future.result() for future in futures]
        seconds = taken()
    all_zero(codes, jobs)
    return seconds


def dask(jobs: int, forks: int) -> float:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=forks, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        client.wait_for_workers(forks)
        client.submit(captured, 0).result()
        ready()
        codes = client.gather(client.map(captured, range(1, jobs + 1), pure=False))
        seconds = taken()
    all_zero(codes, jobs)
    return seconds


def captured(number: int) -> int:
    """What the peers run that know Python calls only."""
    return subprocess.run(COMMAND, capture_output=True, check=True).returncode


def hyperqueue(jobs: int, forks: int) -> float:
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    def array(size: int) -> Job:
        made = Job(max_fails=0)
        for number in range(size):
            made.program(COMMAND, stdout=f"out/{size}-{number}.out", stderr=f"out/{size}-{number}.err")
        return made

    with LocalCluster(
        server_dir=os.path.abspath("server"), worker_config=WorkerConfig(cores=forks)
    ) as cluster:
        client = cluster.client()
        client.wait_for_jobs([client.submit(array(1))])
        ready()
        done = client.wait_for_jobs([client.submit(array(jobs))])
        seconds = taken()
    if not done:
        raise SystemExit("not all tasks finished")
    all_zero((0 for _ in Path("out").glob(f"{jobs}-*.out")), jobs)
    return seconds


def submitit(jobs: int, forks: int) -> float:
    import submitit

    executor = submitit.LocalExecutor(folder="jobs")
    executor.update_parameters(timeout_min=5)
    run = submitit.helpers.CommandFunction(COMMAND, verbose=False)
    ready()
    submitted = [executor.submit(run) for _ in range(jobs)]
    outputs = [job.result() for job in submitted]  # raises when the command failed
    seconds = taken()
    all_zero((0 for _ in outputs), jobs)
    return seconds


def executorlib(jobs: int, forks: int) -> float:
    from executorlib import SingleNodeExecutor

    with SingleNodeExecutor(max_workers=forks, block_allocation=True, hostname_localhost=True) as executor:
        for future in [executor.submit(captured, number) for number in range(forks)]:
            future.result()
        ready()
        futures = [executor.submit(captured, number) for number in range(jobs)]
        codes = [future.result() for future in futures]
        seconds = taken()
    all_zero(codes, jobs)
    return seconds


def parallel(jobs: int, forks: int) -> float:
    numbers = "".join(f"{number}\n" for number in range(jobs))
    argv = ["parallel", f"-j{forks}", "--joblog=log", "--results=results", *COMMAND, "{}"]
    ready()
    subprocess.run(argv, input=numbers, stdout=subprocess.DEVNULL, text=True, check=True)
    seconds = taken()
    rows = Path("log").read_text("utf-8").splitlines()[1:]
    all_zero((int(row.split("\t")[6]) for row in rows), jobs)
    return seconds


def task_spooler(jobs: int, forks: int) -> float:
    """Its server forks off by itself: `tsp -K` ends it. With -E Debian's kills every job by signal 9."""
    os.environ.update(TS_SOCKET=os.path.abspath("socket"), TS_MAXFINISHED=str(jobs + 1))
    submit = (
        'jobs=$1 n=0; shift; while [ $n -lt "$jobs" ]; do tsp "$@" || exit; n=$((n + 1)); done >/dev/null'
    )
    try:
        subprocess.run(["tsp", "-S", str(forks)], check=True)
        ready()
        subprocess.run(["sh", "-c", submit, "sh", str(jobs), *COMMAND], check=True)
        for number in range(max(0, jobs - 4 * forks), jobs):
            subprocess.run(["tsp", "-w", str(number)], check=True)
        listed = subprocess.run(["tsp", "-l"], check=True, capture_output=True, text=True).stdout
        seconds = taken()
    finally:
        subprocess.run(["tsp", "-K"], check=False)
    rows = [row.split() for row in listed.splitlines()[1:]]
    all_zero((int(row[3]) for row in rows if row[1] == "finished"), jobs)
    return seconds


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    name, *numbers = sys.argv[1:4]
    known = (xqute, xqute2, parsl, dask, hyperqueue, submitit, executorlib, parallel, task_spooler)
    work = {function.__name__: function for function in known}[name]
    wall = work(*map(int, numbers))
    Path("result.json").write_text(json.dumps({"seconds": wall, "setup": READY - BEGUN}), "utf-8")
