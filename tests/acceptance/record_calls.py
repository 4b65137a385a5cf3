"""What the jobs of the tests of records call. Light: jobs import it."""

import time
from typing import Any

from xqute import current_job, task


def mk_host_dir(name: str, fail: str) -> None:
    time.sleep(0.005)


def bowtie_build(name: str, fail: str) -> None:
    job = current_job()
    time.sleep(0.005)
    job.progress(1, 4)
    job.progress(1, 2)
    if fail == "bowtie_build" or (fail == "once" and job.attempt == 1):
        raise MemoryError("no memory")


def update_db(name: str, fail: str) -> None:
    time.sleep(0.005)


@task
def add_host(name: str, fail: str = "") -> None:
    for step in current_job().steps(mk_host_dir, bowtie_build, update_db):
        step(name, fail)


@task
def alone() -> Any:
    for part in (10, 40, 70):
        current_job().progress(part)


@task
def quiet() -> None:
    """Says nothing."""


ALONE = alone()


@task
def number_of(text: str) -> int:
    return len(text)


@task
def plus(a: Any, b: Any) -> int:
    return int(a) + int(b)
