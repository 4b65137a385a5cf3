"""A clock that really jumps, for the program, its wrappers and its jobs: by a preloaded library."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long jump(void) {
    const char *path = getenv("CLOCK_JUMP");
    char text[32];
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[size > 0 ? size : 0] = 0;
    return atol(text);
}
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(id, at);
    if (!rc && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += jump();
    return rc;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec; at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""

PROGRAM = """
import asyncio, json, os, sys, time
from xqute import Xqute
here, seconds = sys.argv[1:]
wait = "until [ -e $HERE/go ]; do sleep 0.02; done; "
count = "echo $XQUTE_JOB_START >> $HERE/runs.$XQUTE_JOB_ID; "
async def main():
    xqute = Xqute(job_metadir=here + "/meta", scheduler_forks=4)
    running = await xqute.push(count + wait + "date +%s > $HERE/date", timeout=60)
    late = await xqute.push(count + "exec sleep 300", timeout=3, grace=1)
    retry = await xqute.push(count + "[ $XQUTE_JOB_ATTEMPT = 2 ]", retries=1, retry_delay=2)
    jobs = [running, late, retry]
    async def jump():
        while not (retry.reason.code == "RETRY_DELAY" and running.started and late.started):
            await asyncio.sleep(0.01)
        before = time.time()
        with open(here + "/jump.new", "w") as file:
            file.write(seconds)
        os.replace(here + "/jump.new", here + "/jump")
        told["jumped"] = round(time.time() - before)
        open(here + "/go", "w").close()
    told, began = {}, time.monotonic()
    await asyncio.gather(jump(), xqute.run_until_complete())
    told["took"] = time.monotonic() - began
    told["ends"] = [[job.status.name, job.reason.code, job.attempt, job.start] for job in jobs]
    told["ordered"] = all([
        (dates := [line.date for line in await job.history()]) == sorted(dates) for job in jobs])
    told["lasted"] = [job.ended - job.created for job in jobs]
    told["walls"] = [job.usage.get("wall", 0) for job in jobs]
    print(json.dumps(told))
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and the GNU linker")
    place = tmp_path_factory.mktemp("library")
    (place / "jump.c").write_text(LIBRARY)
    made = [compiler, "-shared", "-fPIC", "-O1", "-o", place / "jump.so", place / "jump.c", "-ldl"]
    subprocess.run(made, check=True, capture_output=True)
    return place / "jump.so"


@pytest.mark.live
@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_jump_of_an_hour_while_jobs_run_and_wait_changes_no_end_and_no_delay(tmp_path, library, seconds):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HERE": str(tmp_path),
        "LD_PRELOAD": str(library),
        "CLOCK_JUMP": f"{tmp_path}/jump",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path, str(seconds)],
        env=environment, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    # the fault was there: in the program and in the job
    assert told["jumped"] == seconds
    assert abs(int((tmp_path / "date").read_text()) - time.time() - seconds) < 60
    assert told["ends"] == [
        ["FINISHED", "EXIT", 1, 1],
        ["FAILED", "TIMEOUT", 1, 1],
        ["FINISHED", "EXIT", 2, 2],
    ]
    assert 3 < told["took"] < 20
    assert told["ordered"]
    assert all(0 <= lasted < 30 for lasted in told["lasted"])
    assert all(0 <= wall < 30 for wall in told["walls"])
    counted = [(tmp_path / f"runs.{number}").read_text().split() for number in (1, 2, 3)]
    assert counted == [["1"], ["1"], ["1", "2"]]
