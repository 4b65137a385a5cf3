"""A process that the kernel does not let us end, because it became another user's, is named."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.programs import WARM
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]

#: A user whom nobody else is.
UID = 54322

BECOMES_ROOT = r"""
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
int main(int count, char **words) {
    if (setuid(0)) return 9;
    signal(SIGTERM, SIG_IGN);
    close(creat(words[1], 0666));
    for (int left = 60; left; left--) sleep(1);
    return 0;
}
"""

PROGRAM = """
import json, logging, os, sys
logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
from xqute import XquteError
here, uid = sys.argv[1], int(sys.argv[2])
os.setgroups([]); os.setgid(uid); os.setuid(uid)
from xqute.schedulers.local import ending
ending.KILL_BOUND_SECONDS = 1.0
async def main():
    told = {}
    async with Xqute(job_metadir=here + "/meta", grace=0.2, scheduler_forks=2) as xqute:
        job = await xqute.push([here + "/becomes root", here + "/up"])
        beside = await xqute.push(["true"])
        while not os.path.exists(here + "/up"):
            await asyncio.sleep(0.01)
        try:
            told["killed"] = await job.kill()
        except XquteError as exc:
            told["raised"] = str(exc)
        told["status"], told["reason"] = job.status.name, str(job.reason)
        open(here + "/told", "w").close()
        while not os.path.exists(here + "/gone"):
            await asyncio.sleep(0.01)
        await beside
    told["end"], told["beside"] = job.status.name, beside.status.name
    print(json.dumps(told))
asyncio.run(main())
"""


def carriers(program: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if (entry / "cmdline").read_bytes().startswith(program.encode() + b"\0"):
                    found.append(int(entry.name))
    return found


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a program that becomes root")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_process_of_another_user_that_can_not_be_killed_is_named_and_stays_killing(anybodys):
    (anybodys / "root.c").write_text(BECOMES_ROOT)
    made = anybodys / "becomes root"
    subprocess.run(["cc", "-o", made, anybodys / "root.c"], check=True, capture_output=True)
    made.chmod(0o4755)
    with subprocess.Popen(
        [sys.executable, "-c", WARM + PROGRAM, anybodys, str(UID)],
        cwd=anybodys, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        try:
            wait_for(lambda: (anybodys / "told").exists() or program.poll() is not None)
            pids = carriers(str(made))
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            (anybodys / "gone").touch()
            out, log = program.communicate(timeout=30)
        finally:
            program.kill()
            for pid in carriers(str(made)):
                os.kill(pid, signal.SIGKILL)

    assert program.returncode == 0, log
    told = json.loads(out)
    assert len(pids) == 1
    assert told["status"] == "KILLING"
    assert str(pids[0]) in told["raised"] + told["reason"] + log
    assert (told["end"], told["beside"]) == ("KILLED", "FINISHED")
