"""Toy clusters of each kind, and what stands in the place of their commands."""

import pytest

from tests.batches import SGE, SLURM
from xqute import Xqute


@pytest.fixture(params=[SLURM, SGE], ids=lambda batch: batch.name)
def batch(request):
    return request.param


@pytest.fixture
def cluster(batch, tmp_path):
    with batch.toy(tmp_path / "cluster", grace=0.5) as cluster:
        yield cluster


@pytest.fixture
def make(batch, cluster, tmp_path):
    def make(forks=100, **options):
        scheduler = batch.scheduler(scheduler_rate=None, **{**cluster.options, **options})
        scheduler.poll_seconds = scheduler.grace_seconds = 0.4
        return Xqute(scheduler, job_metadir=tmp_path / "run", scheduler_forks=forks, store="memory://")

    return make


@pytest.fixture
def shims(cluster, tmp_path):
    """Options that put something in the place of commands, and `$real` into it: what it stands for."""

    def shims(text, *programs):
        options = {}
        for program in programs:
            shim = tmp_path / program
            shim.write_text(f"#!/bin/sh\nreal='{cluster.bin}/{program}'\n{text}\n")
            shim.chmod(0o700)
            options[program] = str(shim)
        return options

    return shims
