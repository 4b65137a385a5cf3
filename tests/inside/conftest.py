"""A metadir, a place, and real jobs in it: a payload, the wrapper's script, a process."""

import base64
import json
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from textwrap import dedent

import pytest

import xqute
from xqute.inside import failing, results
from xqute.pickling import place, write_place
from xqute.wrapper import Script, fill

ROOT = Path(xqute.__file__).parent.parent
START = ROOT / "xqute" / "inside" / "start.py"

#: Nothing here takes seconds; a test that waits longer has found that something hangs.
PATIENCE = 30.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:.0f} s until {what}")
        time.sleep(0.01)


def alive(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state not in {"Z", "X"}:
            found.append(int(stat.parent.name))
    return found


class Need:
    """Stands in arguments for the need of this number."""

    def __init__(self, number: int):
        self.number = number


class Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        return thing.number if type(thing) is Need else None


def pickled(args, kwargs) -> str:
    file = BytesIO()
    Pickler(file, 5).dump((args, kwargs))
    return base64.b64encode(file.getvalue()).decode()


def by_value(function) -> dict[str, str]:
    import cloudpickle

    return {"pickle": base64.b64encode(cloudpickle.dumps(function)).decode()}


class Job:
    """One start of one job: its directory and its process, in a session of its own."""

    def __init__(self, directory: Path, script: Path, env: dict[str, str]):
        self.directory = directory
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["sh", script], start_new_session=True, env=env, **quiet)

    def wait(self) -> "Job":
        self.process.wait(PATIENCE)
        return self

    def ask(self) -> None:
        """SIGTERM to all of it, as a manager does."""
        os.killpg(self.process.pid, 15)

    def wait_for(self, name: str) -> None:
        """Until the job has made a file in its directory."""
        wait_until((self.directory / name).exists, f"the job makes {name}")

    def text(self, name: str) -> str:
        path = self.directory / name
        return path.read_text("utf-8", "surrogateescape") if path.exists() else ""

    @property
    def rc(self) -> int:
        return int(self.text("job.rc"))

    @property
    def stdout(self) -> str:
        return self.text("job.stdout")

    @property
    def stderr(self) -> str:
        return self.text("job.stderr")

    @property
    def events(self) -> list[str]:
        """Without the times at which stages began."""
        lines = self.text("job.events").splitlines()
        return [re.sub(r"^(stage\S*)@[0-9.]+(?= |$)", r"\1", line) for line in lines]

    @property
    def logged(self) -> list[dict]:
        return [json.loads(line) for line in self.text("job.log").splitlines()]

    @property
    def has_result(self) -> bool:
        return (self.directory / "job.result").exists()

    @property
    def result(self):
        assert self.has_result, f"no result, rc {self.rc}: {self.stderr}"
        return results.read_result(str(self.directory / "job.result"))

    @property
    def error(self) -> dict:
        error = failing.read_error(str(self.directory / "job.error"))
        assert error is not None, self.stderr
        return error


class Host:
    """A metadir, and a folder with the modules and scripts of its user."""

    #: In arguments: the result of a need.
    Need = Need
    by_value = staticmethod(by_value)
    wait_until = staticmethod(wait_until)

    def wait_until_gone(self, group: int) -> None:
        """Until nothing of a group of processes runs any more; who waits for its dead is not our business."""
        wait_until(lambda: not alive(group), f"nothing of group {group} is left")

    def __init__(self, folder: Path):
        self.root = folder / "meta dir"
        self.code = folder / "code"
        self.root.mkdir()
        self.code.mkdir()
        self.started: list[Job] = []
        self.main: dict | None = None
        self.version = list(sys.version_info[:2])
        self.env: dict[str, str] = {}

    def module(self, text: str, name: str = "work") -> None:
        """What the user has in a module."""
        (self.code / f"{name}.py").write_text(dedent(text))

    def script(self, text: str, name: str = "main.py") -> Path:
        """What the user has in the script that pushes."""
        path = self.code / name
        path.write_text(dedent(text))
        self.main = {"file": str(path)}
        return path

    @property
    def place(self) -> str:
        here = {**place(), "path": [str(self.code), *place()["path"]], "main": self.main}
        here["version"] = self.version
        return write_place(self.root, here)

    @property
    def place_file(self) -> Path:
        return self.root / ".places" / f"{self.place}.json"

    def directory(self, id: int) -> Path:
        path = self.root / str(id)
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def result(self, id: int, value) -> list:
        """Another job has returned something; what a payload says of it."""
        results.write_result(str(self.directory(id)), value)
        return [id, "result"]

    def output(self, id: int, text: bytes) -> list:
        """Another job, a command, has printed something."""
        path = self.directory(id) / "job.stdout"
        path.write_bytes(text)
        return [id, str(path)]

    def call(self, target, *args, **kwargs) -> Job:
        """A call, to its end."""
        return self.start(target, *args, **kwargs).wait()

    def start(self, target, *args, needs=(), required=None, options=None, start=1, **kwargs) -> Job:
        """A call; the name of a function is that of one in the module `work`."""
        work = self.payload(target, *args, **kwargs) | {"options": options or {}}
        return self.begin(work, needs, required or {}, start)

    def payload(self, target, *args, **kwargs) -> dict:
        """The work of a call."""
        if isinstance(target, str) and ":" not in target:
            target = f"work:{target}"
        function = {"target": target, "args": pickled(args, kwargs), "place": self.place, "shown": "it"}
        return {"function": function}

    def command(self, *argv, needs=()) -> Job:
        """A command with holes, to its end."""
        words = [{"need": word.number} if isinstance(word, Need) else str(word) for word in argv]
        return self.begin({"argv": words, "place": self.place}, needs, {}, 1).wait()

    def begin(self, work: dict, needs, required: dict, start: int) -> Job:
        payload = {"work": work, "needs": list(needs), "required": required, "metadir": str(self.root)}
        directory = self.directory(7)
        for path in directory.glob("job.*"):
            path.unlink()
        script = directory / "job.wrapped.local"
        exports = {
            "XQUTE_JOB": f"mark-{self.root}",
            "XQUTE_JOB_ID": "7",
            "XQUTE_JOB_METADIR": str(directory),
            "XQUTE_JOB_ATTEMPT": "2",
            "XQUTE_JOB_START": str(start),
            "XQUTE_JOB_EVENTS": str(directory / "job.events"),
        }
        argv = [sys.executable, str(START), str(script)]
        wrapped = Script(directory=str(directory), argv=argv, cwd=str(self.code), exports=exports)
        script.write_text(f"{fill(wrapped)}#xqute call {json.dumps(payload)}\n")
        job = Job(directory, script, {**os.environ, **self.env})
        self.started.append(job)
        return job

    def end(self) -> None:
        for job in self.started:
            if job.process.poll() is None:
                os.killpg(job.process.pid, 9)
                job.process.wait()


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    yield host
    host.end()
