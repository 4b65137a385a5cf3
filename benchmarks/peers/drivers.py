"""One function per peer, run by the Python of that peer's own environment, in an empty directory.

`python drivers.py NAME JOBS FORKS COMMAND…` runs the command so often, asking for as much of each job's
return code and output as the peer can keep. It writes `result.json`: the seconds from the first submit to
the last result, and the seconds before, from its own first line until the peer could take jobs; what this
process computed meanwhile, and the commands it ran, where it knows them.

A name that ends in `_calls` runs so many Python calls that do nothing, each for a result of its own; one
in `_trees` a tree of them in the shape of Montage, in which each gets what its parents returned. One in
`_slurm` or `_sge` runs the command at that cluster, and its clock stops when nothing is in the queue.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

BEGUN = time.perf_counter()
COMMAND = sys.argv[4:]
READY = COMPUTED = 0.0
ISSUED: dict[str, int] = {}

#: What a cluster says as long as something of ours is in its queue, and how often it is asked.
QUEUES = {
    "slurm": ["squeue", "--noheader", "--format=%i", f"--user={os.getuid()}"],
    "sge": ["qstat", "-u", pwd.getpwuid(os.getuid()).pw_name],
}
QUEUE_SECONDS = 0.25

#: How deep a Montage is, and so what the last call of its tree returns.
LEVELS = 8

sys.path.append(str(Path(__file__).resolve().parents[1]))  # wfformat.py is everybody's, tasks.py xqute's


def ready() -> None:
    """The peer can take jobs: the clock starts."""
    global READY, COMPUTED
    READY, COMPUTED = time.perf_counter(), time.process_time()


def taken() -> float:
    return time.perf_counter() - READY


def taken_at(cluster: str) -> float:
    """The same, when nothing is in the queue any more."""
    while asked(*QUEUES[cluster]):
        time.sleep(QUEUE_SECONDS)
    return taken()


def asked(*argv: str) -> str:
    """What a command says that must succeed."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def all_zero(codes: Iterable[int | None], jobs: int) -> None:
    """A peer that lost a job, or ran one in vain, has no figure."""
    ended = list(codes)
    if len(ended) != jobs or any(code != 0 for code in ended):
        raise SystemExit(f"{sum(code == 0 for code in ended)} of {jobs} jobs ended well")


def all_own(results: Iterable[int], jobs: int) -> None:
    """The same of calls that return their numbers."""
    if list(results) != list(range(jobs)):
        raise SystemExit(f"not every one of {jobs} calls returned its number")


def all_levels(result: int) -> None:
    """The same of a tree: its last call is below all others."""
    if result != LEVELS:
        raise SystemExit(f"the tree returned {result}, not {LEVELS}")


def tree(jobs: int) -> list[Sequence[int]]:
    """For each call the numbers of its parents, which stand before it."""
    from wfformat import montage

    return [task.parents for task in montage(jobs).tasks]


def nothing(number: int) -> int:
    return number


def level(*parents: int) -> int:
    return 1 + max(parents, default=0)


def xqute(jobs: int, forks: int) -> float:
    return own_commands("local", jobs, forks)


def xqute_slurm(jobs: int, forks: int) -> float:
    own_commands("slurm", jobs, forks)
    return taken_at("slurm")


def xqute_sge(jobs: int, forks: int) -> float:
    own_commands("sge", jobs, forks)
    return taken_at("sge")


def own_commands(scheduler: str, jobs: int, forks: int) -> float:
    from xqute import JobStatus, Xqute

    async def run() -> float:
        xq = Xqute(scheduler, job_metadir="jobs", scheduler_forks=forks)
        ready()
        await xq.push_many([COMMAND] * jobs)
        report = await xq.run_until_complete()
        seconds = taken()
        if report.counts != {JobStatus.FINISHED: jobs}:
            raise SystemExit(f"not all jobs finished: {report}")
        ISSUED.update(report.commands)
        return seconds

    return asyncio.run(run())


def xqute_calls(jobs: int, forks: int) -> float:
    from tasks import nothing as task

    return own_calls(task, jobs, forks)


def xqute_reuse_calls(jobs: int, forks: int) -> float:
    from tasks import nothing_again

    return own_calls(nothing_again, jobs, forks)


def own_calls(task: Any, jobs: int, forks: int) -> float:
    """Both ways of xqute differ in what the task says."""
    from xqute import Xqute

    async def run() -> float:
        xq = Xqute(job_metadir="jobs", scheduler_forks=forks)
        ready()
        pushed = await xq.push_many([task(number) for number in range(jobs)])
        await xq.run_until_complete()
        results = [job.result() for job in pushed]
        seconds = taken()
        all_own(results, jobs)
        return seconds

    return asyncio.run(run())


def xqute_trees(jobs: int, forks: int) -> float:
    from tasks import level as task

    from xqute import Xqute

    async def run() -> float:
        graph = tree(jobs)
        xq = Xqute(job_metadir="jobs", scheduler_forks=forks)
        ready()
        calls: list[Any] = []
        for parents in graph:
            calls.append(task(*(calls[parent] for parent in parents)))
        last = await xq.push(calls[-1])
        await xq.run_until_complete()
        result = last.result()
        seconds = taken()
        all_levels(result)
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

    @parsl.bash_app
    def job(line: str, stdout: object = parsl.AUTO_LOGNAME, stderr: object = parsl.AUTO_LOGNAME) -> str:
        return line

    with parsl_workers(forks):
        all_zero([future.result() for future in [job(" ".join(COMMAND)) for _ in range(forks)]], forks)
        ready()
        futures = [job(" ".join(COMMAND)) for _ in range(jobs)]
        codes = [future.result() for future in futures]
        seconds = taken()
    all_zero(codes, jobs)
    return seconds


def parsl_calls(jobs: int, forks: int) -> float:
    import parsl

    app = parsl.python_app(nothing)
    with parsl_workers(forks):
        all_own([future.result() for future in [app(number) for number in range(forks)]], forks)
        ready()
        futures = [app(number) for number in range(jobs)]
        results = [future.result() for future in futures]
        seconds = taken()
    all_own(results, jobs)
    return seconds


def parsl_trees(jobs: int, forks: int) -> float:
    import parsl

    graph, app = tree(jobs), parsl.python_app(level)
    with parsl_workers(forks):
        [future.result() for future in [app() for _ in range(forks)]]
        ready()
        futures: list[Any] = []
        for parents in graph:
            futures.append(app(*(futures[parent] for parent in parents)))
        result = futures[-1].result()
        seconds = taken()
    all_levels(result)
    return seconds


@contextmanager
def parsl_workers(forks: int) -> Iterator[None]:
    """So many on this host."""
    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
    executor = HighThroughputExecutor(max_workers_per_node=forks, provider=provider, address="127.0.0.1")
    with parsl.load(Config(executors=[executor], strategy="none", usage_tracking=0)):
        yield


def dask(jobs: int, forks: int) -> float:
    with dask_workers(forks) as client:
        client.submit(captured, 0).result()
        ready()
        codes = client.gather(client.map(captured, range(1, jobs + 1), pure=False))
        seconds = taken()
    all_zero(codes, jobs)
    return seconds


def dask_calls(jobs: int, forks: int) -> float:
    with dask_workers(forks) as client:
        client.submit(nothing, 0).result()
        ready()
        results = client.gather(client.map(nothing, range(jobs), pure=False))
        seconds = taken()
    all_own(results, jobs)
    return seconds


def dask_trees(jobs: int, forks: int) -> float:
    from dask import delayed

    graph = tree(jobs)
    with dask_workers(forks) as client:
        client.submit(level).result()
        ready()
        made: list[Any] = []
        for parents in graph:
            made.append(delayed(level, pure=False)(*(made[parent] for parent in parents)))
        result = client.compute(made[-1]).result()
        seconds = taken()
    all_levels(result)
    return seconds


@contextmanager
def dask_workers(forks: int) -> Iterator[Any]:
    """A client of so many worker processes on this host."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=forks, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        client.wait_for_workers(forks)
        yield client


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


def submitit_slurm(jobs: int, forks: int) -> float:
    import submitit

    executor = submitit.AutoExecutor(folder="jobs", cluster="slurm")
    executor.update_parameters(timeout_min=5, slurm_array_parallelism=forks)
    run = submitit.helpers.CommandFunction(COMMAND, verbose=False)
    ready()
    submitted = executor.map_array(run, range(jobs))
    outputs = [job.result() for job in submitted]  # raises when the command failed
    all_zero((0 for _ in outputs), jobs)
    return taken_at("slurm")


def psij_slurm(jobs: int, forks: int) -> float:
    """It asks Slurm every 30 s unless told otherwise: here as often as xqute may at most."""
    from psij import Job, JobExecutor, JobSpec
    from psij.executors.batch.slurm import SlurmExecutorConfig

    executor = JobExecutor.get_instance("slurm", config=SlurmExecutorConfig(queue_polling_interval=2))
    ready()
    submitted = [Job(JobSpec(executable=COMMAND[0], arguments=COMMAND[1:])) for _ in range(jobs)]
    for job in submitted:
        executor.submit(job)
    ended = [job.wait() for job in submitted]
    all_zero((status.exit_code for status in ended if status), jobs)
    return taken_at("slurm")


def bare_slurm(jobs: int, forks: int) -> float:
    """One array of a script that runs the command, and keeps nothing."""
    Path("bare.sh").write_text(f"#!/bin/sh\n{' '.join(COMMAND)}\n", "utf-8")
    ready()
    asked("sbatch", "--output=/dev/null", f"--array=1-{jobs}", "bare.sh")
    return taken_at("slurm")


def bare_sge(jobs: int, forks: int) -> float:
    """The same at Grid Engine."""
    Path("bare.sh").write_text(f"{' '.join(COMMAND)}\n", "utf-8")
    ready()
    asked("qsub", "-S", "/bin/sh", "-o", "/dev/null", "-e", "/dev/null", "-t", f"1-{jobs}", "bare.sh")
    return taken_at("sge")


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
    commands = (xqute, xqute2, parsl, dask, hyperqueue, submitit, executorlib, parallel, task_spooler)
    calls = (xqute_calls, xqute_reuse_calls, parsl_calls, dask_calls, xqute_trees, parsl_trees, dask_trees)
    clusters = (xqute_slurm, xqute_sge, bare_slurm, bare_sge, submitit_slurm, psij_slurm)
    work = {function.__name__: function for function in (*commands, *calls, *clusters)}[name]
    told = {"seconds": work(*map(int, numbers)), "setup": READY - BEGUN}
    told |= {"cpu": time.process_time() - COMPUTED, "commands": ISSUED}
    Path("result.json").write_text(json.dumps(told), "utf-8")
