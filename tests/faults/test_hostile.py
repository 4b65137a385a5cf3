"""Hostile names, files, output and secrets: nothing blocks, is executed or touched outside."""

import asyncio
import logging
import os
import socket
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console as RichConsole

from tests.waiting import until
from xqute import JobFailed, JobStatus, OptionError, Xqute
from xqute.plugins.console import Console

#: How a job's start may end when its own files were tampered with; EXIT is the truth, all else says why not.
TYPED = {"EXIT", "CORRUPT", "LOST", "SIGNAL"}


@pytest.fixture
def outside(tmp_path):
    """A file and a directory outside of the metadir, which nobody may change; checked at the end."""
    place = tmp_path / "outside"
    place.mkdir()
    file = place / "precious"
    file.write_text("precious\n")
    yield place
    assert [entry.name for entry in place.iterdir()] == ["precious"]
    assert file.read_text() == "precious\n"


def peak_kib() -> int:
    """The most memory this process had since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def forget_peak() -> int:
    """Begin to measure the peak anew; returns what it is now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_kib()


# Files in the place of a job's own

NAMES = [
    "job.status", "job.rc", "job.lock", "job.stdout", "job.stderr", "job.wrapped.local", "job.retry",
]  # fmt: skip

#: What is put there, as a shell line; $f is the place, $o a directory outside.
KINDS = {
    "empty": 'rm -rf "$f"; : > "$f"',
    "half a line": 'rm -rf "$f"; printf FINI > "$f"',
    "half a line inside": '[ -d "$f" ] || printf FINI > "$f"',
    "binary": 'rm -rf "$f"; head -c 300 /dev/urandom > "$f"',
    "100 MB": 'rm -rf "$f"; truncate -s 100M "$f"',
    "100 MB inside": '[ -d "$f" ] || truncate -s 100M "$f"',
    "fifo": 'rm -rf "$f"; mkfifo "$f"',
    "directory": 'rm -rf "$f"; mkdir "$f"',
    "full directory": 'rm -rf "$f"; mkdir "$f"; touch "$f/x"',
    "link to a file": 'rm -rf "$f"; ln -s "$o/precious" "$f"',
    "link to a directory": 'rm -rf "$f"; ln -s "$o" "$f"',
    "dangling link": 'rm -rf "$f"; ln -s "$o/new" "$f"',
    "hard link": 'rm -rf "$f"; ln "$o/precious" "$f"',
    "device": 'rm -rf "$f"; mknod "$f" c 1 5 || : > "$f"',
}


@pytest.fixture
def tampering(tmp_path, outside):
    """The shell line of a job that puts something in a file's place."""

    def line(name: str, kind: str) -> str:
        return f"f=\"$XQUTE_JOB_METADIR/{name}\" o='{outside}'; {{ {KINDS[kind]}; }} 2>/dev/null"

    return line


def plant_sockets(directory: Path, name: str) -> None:
    (directory / name).unlink(missing_ok=True)
    here = os.open(directory, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as planted:
        planted.bind(f"/proc/self/fd/{here}/{name}")  # a socket's path is short
    os.close(here)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("postscript", ["", "echo after"], ids=["", "with postscript"])
async def test_whatever_a_job_puts_in_the_place_of_its_files_ends_it_with_a_typed_reason(
    make, tampering, name, postscript
):
    xqute = make(scheduler_forks=8, scheduler_postscript=postscript)
    jobs = {kind: await xqute.push(f"{tampering(name, kind)}; exit 3") for kind in KINDS}
    before = forget_peak()
    async with asyncio.timeout(8):
        report = await xqute.run_until_complete()
    grown = peak_kib() - before

    assert report.counts == {JobStatus.FAILED: len(jobs)}
    for kind, job in jobs.items():
        assert job.reason.code in TYPED, kind
        assert job.rc == (3 if job.reason.code == "EXIT" else None), kind
        if name != "job.status":
            assert job.reason.code == "EXIT", kind
        assert "\n" not in str(job.reason)
        assert str(job.exception())
    assert grown < 30_000


@pytest.mark.parametrize("name", NAMES)
async def test_whatever_an_attempt_leaves_in_the_place_of_its_files_the_next_one_is_as_new(
    make, tampering, name
):
    xqute = make(scheduler_forks=8, job_error_strategy="retry", job_num_retries=1, retry_delay=0)
    jobs = {
        kind: await xqute.push(
            f"if [ $XQUTE_JOB_START = 1 ]; then {tampering(name, kind)}; exit 3; fi; echo second"
        )
        for kind in KINDS
    }
    before = forget_peak()
    async with asyncio.timeout(20):
        await xqute.run_until_complete()
    grown = peak_kib() - before

    for kind, job in jobs.items():
        if name == "job.retry" and job.status is JobStatus.FAILED:
            assert job.reason.code == "WRAP_FAILED", kind
        else:
            assert (job.status, job.attempt) == (JobStatus.FINISHED, 2), kind
            assert await job == "second", kind
    assert grown < 30_000


@pytest.mark.parametrize("name", NAMES)
async def test_whatever_lies_in_the_place_of_a_jobs_files_before_it_starts_is_put_away(
    make, tmp_path, outside, name
):
    xqute = make(scheduler_forks=8)
    kinds = [*KINDS, "socket"]
    jobs = {kind: await xqute.push(["echo", "fine"]) for kind in kinds}
    for kind, job in jobs.items():
        place = job.metadir / name
        if kind == "socket":
            plant_sockets(job.metadir, name)
        else:
            env = {"PATH": os.environ["PATH"], "f": str(place), "o": str(outside)}
            process = await asyncio.create_subprocess_exec(
                "bash", "-c", KINDS[kind], env=env, stderr=asyncio.subprocess.DEVNULL
            )
            await process.wait()
    before = forget_peak()
    async with asyncio.timeout(20):
        await xqute.run_until_complete()
    grown = peak_kib() - before

    for kind, job in jobs.items():
        assert job.status is JobStatus.FINISHED, (kind, job.reason)
        assert await job == "fine"
    assert grown < 30_000


async def test_a_socket_in_the_place_of_the_status_ends_the_job_with_a_typed_reason(make):
    async with asyncio.timeout(20), make() as xqute:
        job = await xqute.push(["sleep", "60"])
        await until(lambda: job.status is JobStatus.RUNNING)
        plant_sockets(job.metadir, "job.status")
        os.killpg(int(job.uid), 9)

    assert job.status is JobStatus.FAILED
    assert job.reason.code in TYPED


def plant(place: Path, what: str, outside: Path) -> None:
    if what == "link":
        place.symlink_to(outside)
    elif what == "dangling link":
        place.symlink_to(outside / "new")
    elif what == "file":
        place.write_text("")
    elif what == "fifo":
        os.mkfifo(place)
    else:
        plant_sockets(place.parent, place.name)


@pytest.mark.parametrize("what", ["link", "dangling link", "file", "fifo", "socket"])
async def test_what_lies_in_the_place_of_a_jobs_directory_is_neither_followed_nor_touched(
    make, tmp_path, outside, what
):
    xqute = make()
    job = await xqute.push(["touch", tmp_path / "ran"])
    after = await xqute.push(["true"])
    place = Path(job.directory)
    plant(place, what, outside)

    async with asyncio.timeout(20):
        await xqute.run_until_complete()

    assert (job.status, job.reason.code) == (JobStatus.FAILED, "WRAP_FAILED")
    assert place.name in str(job.reason)
    assert after.status is JobStatus.FINISHED
    assert not (tmp_path / "ran").exists()


async def test_a_file_in_the_place_of_all_earlier_starts_is_told_and_not_followed(make, tmp_path, outside):
    xqute = make(job_error_strategy="retry", job_num_retries=1, retry_delay=0)
    job = await xqute.push(f"ln -s '{outside}' $XQUTE_JOB_METADIR/job.retry; exit 1")

    async with asyncio.timeout(20):
        await xqute.run_until_complete()

    assert job.status is JobStatus.FAILED
    assert "job.retry" in str(job.reason)


# Hostile names

NASTY = [
    "'; touch pwned #", '"; touch pwned; "', "$(touch pwned)", "`touch pwned`", "a\nb\ntouch pwned\n",
    "-o", "--",
    "-rf /tmp/nothing", "../../pwned", "%s%n", "a\r\nb", "😀", "\u202egpj.exe",
    "\x1b]0;pwned\x07", "@ARGV@", "@DIR@",
    "[bold]x[/bold]", "<script>alert(1)</script>", "\udcff\udcfe",
    "Robert'); DROP TABLE job;--", "\x7f\x01", " ",
]  # fmt: skip


@pytest.mark.parametrize("what", ["argv", "line", "env", "title", "tags", "user", "cwd"])
async def test_hostile_texts_arrive_exactly_and_execute_nothing(  # noqa: C901  one case for each place
    make, tmp_path, monkeypatch, what
):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    xqute = make(scheduler_forks=8)
    show = [sys.executable, "-c", "import os, sys; sys.stdout.buffer.write(os.fsencode(eval(sys.argv[1])))"]
    jobs = []
    texts = [text.replace("\n", " ") if what == "tags" else text for text in NASTY]
    for text in texts:
        if what == "argv":
            jobs.append(await xqute.push([*show, "sys.argv[2]", text]))
        elif what == "line":
            quoted = "'" + text.replace("'", "'\\''") + "'"
            jobs.append(await xqute.push(f"printf %s {quoted}"))
        elif what == "env":
            jobs.append(await xqute.push([*show, "os.environ['NASTY']"], env={"NASTY": text}))
        elif what == "cwd":
            place = work / (text.replace("/", "_") + "d")
            place.mkdir()
            jobs.append(await xqute.push([*show, "os.path.basename(os.getcwd())"], cwd=place))
        else:
            jobs.append(await xqute.push(["true"], **{what: [text] if what == "tags" else text}))

    async with asyncio.timeout(30):
        report = await xqute.run_until_complete()

    assert report.counts == {JobStatus.FINISHED: len(texts)}
    for text, job in zip(texts, jobs, strict=True):
        if what in ("argv", "line", "env"):
            assert job.stdout_file.read_bytes() == os.fsencode(text)
        elif what == "cwd":
            assert job.stdout_file.read_bytes() == os.fsencode(text.replace("/", "_") + "d")
        elif what == "title":
            assert job.call.options.title == text
            assert job.title.isprintable()
        elif what == "tags":
            assert job.tags == (text,)
        else:
            assert job.user == text
    assert not list(tmp_path.rglob("pwned"))


async def test_hostile_texts_come_back_from_the_store_exactly(make):
    xqute = make()
    for text in NASTY:
        plain = text.replace("\n", " ")
        await xqute.push(["echo", text], title=text, user=text, tags=[plain], env={"NASTY": text}, cwd=text)

    found = await Xqute(job_metadir=xqute.metadir).find()
    here = os.getcwd()

    for text, job in zip(NASTY, found, strict=True):
        options = job.call.options
        assert job.cmd == ["echo", text]
        assert (options.title, options.user, options.env) == (text, text, (("NASTY", text),))
        assert options.tags == (text.replace("\n", " "),)
        assert options.cwd == f"{here}/{text}" or text[:2] == ".."
        assert str(job).isprintable()


async def test_jobs_are_found_by_hostile_tags_and_users(make):
    xqute = make()
    for text in NASTY:
        plain = text.replace("\n", " ")
        await xqute.push(["true"], user=text, tags=[plain, "common"])

    for number, text in enumerate(NASTY, 1):
        assert [job.id for job in await xqute.find(user=text)] == [number]
        assert [job.id for job in await xqute.find(tag=text.replace("\n", " "))] == [number]
    assert len(await xqute.find(tag="common")) == len(NASTY)


@pytest.mark.parametrize("name", ["a=b", "", "1a", "A B", "A;touch pwned", "$(id)", "é", "A\n"])
async def test_a_name_that_no_environment_variable_can_have_is_refused(make, name):
    with pytest.raises(OptionError, match="environment variable"):
        await make().push(["true"], env={name: "x"})


@pytest.mark.parametrize(
    "what", ["argv", "line", "env", "env name", "title", "tags", "user", "cwd", "stdin", "stdout"]
)
async def test_a_nul_is_refused_before_anything_is_stored(make, what):
    xqute = make()
    call = ["echo", "a\0b"] if what == "argv" else "echo a\0b" if what == "line" else ["true"]
    given = {"env": {"A": "\0"}, "env name": {"A\0": ""}, "tags": ["a\0"]}.get(what, "a\0b")
    options = {} if what in ("argv", "line") else {what.partition(" ")[0]: given}

    with pytest.raises(OptionError, match="NUL"):
        await xqute.push(call, **options)

    assert await xqute.find() == []


async def test_a_title_of_a_million_characters_is_kept_and_shown_short(make, caplog):
    title = "'\n" + "x" * 10**6
    xqute = make()
    job = await xqute.push("exit 3", title=title)

    async with asyncio.timeout(20):
        report = await xqute.run_until_complete()

    assert (await xqute.get(job.id)).call.options.title == title
    assert max(len(record.getMessage()) for record in caplog.records) < 1000 if caplog.records else True
    assert len(str(job)) < 1000
    assert len(str(report)) < 2000


async def test_a_command_line_of_a_million_characters_is_told_when_the_kernel_does_not_take_it(make):
    line = "exit 3 # " + "x" * 10**6

    xqute = make()
    job = await xqute.push(line)
    async with asyncio.timeout(20):
        report = await xqute.run_until_complete()

    assert job.status is JobStatus.FAILED
    assert job.cmd == line
    assert len(str(report)) < 2000


# Output

OUTPUT = b"latin \xe9 nul \0 cr over\rwrite \x1b[31mred\x1b[0m \x1b]0;title\x07 \xff\xfe\n" * 3


async def test_whatever_a_job_prints_is_kept_byte_for_byte_and_shown_tamed(make, tmp_path):
    (tmp_path / "output").write_bytes(OUTPUT)
    out = RichConsole(file=StringIO(), width=200, force_terminal=True, color_system=None)
    xqute = make()
    xqute._room.plugins.__init__([Console(xqute, out)])
    job = await xqute.push(f"cat '{tmp_path}/output'; cat '{tmp_path}/output' >&2; exit 3")
    async with asyncio.timeout(20):
        report = await xqute.run_until_complete()

    assert job.stdout_file.read_bytes() == OUTPUT
    assert job.stderr_file.read_bytes() == OUTPUT
    with pytest.raises(JobFailed) as told:
        await job
    shown = out.file.getvalue()
    assert "red" in shown
    for text in (str(told.value), str(report), *report.failures[0].stderr):
        assert all(line.isprintable() for line in text.split("\n"))
    for bad in ("\x1b[31m", "\x1b]0", "\0", "\x07"):
        assert bad not in shown
        assert bad not in str(told.value)


async def test_a_result_in_another_encoding_comes_back_as_the_bytes_it_was(make, tmp_path):
    (tmp_path / "output").write_bytes(OUTPUT)
    xqute = make()
    job = await xqute.push(["cat", tmp_path / "output"])
    await xqute.run_until_complete()

    assert os.fsencode(await job) == OUTPUT.rstrip(b"\n")


@pytest.mark.parametrize("line", ["head -c 500M /dev/zero", "yes | head -c 200M"])
@pytest.mark.parametrize("where", ["stdout", "stderr"])
async def test_a_flood_of_output_leaves_the_managers_memory_flat(make, line, where):
    xqute = make()
    job = await xqute.push(f"{{ {line}; }} {'>&2' if where == 'stderr' else ''}; exit 3")
    before = forget_peak()
    async with asyncio.timeout(50):
        report = await xqute.run_until_complete()
    told = str(job.exception())
    grown = peak_kib() - before

    assert job.rc == 3
    assert grown < 10_000
    assert len(told) < 10_000
    assert len(str(report)) < 2000
    getattr(job, f"{where}_file").unlink()


# Secrets


@pytest.fixture
def no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


async def test_directories_scripts_and_the_store_are_private_whatever_the_umask(make, no_umask):
    xqute = make(job_error_strategy="retry", job_num_retries=1, retry_delay=0)
    job = await xqute.push("[ $XQUTE_JOB_START = 2 ]", env={"TOKEN": "s3cret"})
    await xqute.run_until_complete()

    assert job.status is JobStatus.FINISHED
    private = [job.metadir, job.metadir / "job.retry", job.metadir / "job.retry" / "1"]
    scripts = [job.metadir / "job.wrapped.local", job.metadir / "job.retry" / "1" / "job.wrapped.local"]
    assert {path.stat().st_mode & 0o777 for path in private + scripts} == {0o700}
    kept = [path for path in xqute.metadir.iterdir() if path.name.startswith("xqute.db")]
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


async def test_values_of_the_environment_are_on_no_command_line_and_in_no_log(make, caplog):
    caplog.set_level(logging.DEBUG)
    xqute = make(job_error_strategy="retry", job_num_retries=1, retry_delay=0)
    async with asyncio.timeout(20), xqute:
        job = await xqute.push(
            "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >&2; exit 3", env={"TOKEN": "s3cr3t-of-mine"}
        )
        await asyncio.wait([job.as_task()])
    report = await xqute.run_until_complete()

    assert b"xqute" in job.stderr_file.read_bytes() or job.stderr_file.stat().st_size
    assert b"s3cr3t-of-mine" not in job.stderr_file.read_bytes()
    assert "s3cr3t-of-mine" not in caplog.text
    assert "s3cr3t-of-mine" not in f"{job!r} {job} {job.exception()} {report} {await job.history()}"
