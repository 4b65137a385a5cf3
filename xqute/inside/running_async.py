"""The commands that an asynchronous call runs."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import IO, Any

from .running import READ_BYTES, Command, Stream


async def run(
    argv: Sequence[Any] | str,
    *,
    on_stdout: Callable[[str], Any] | None = None,
    on_stderr: Callable[[str], Any] | None = None,
    check: bool = True,
) -> str:
    """Run a command to its end; see `CurrentJob.run`."""
    command = Command(argv, on_stdout, on_stderr)
    try:
        await _pass_on([command.stdout, command.stderr])
        # It has closed its outputs, so it is over in no time, as a rule.
        code = command.process.poll()
        if code is None:
            code = await asyncio.to_thread(command.process.wait)
    except BaseException:
        # In a thread: it goes on when this is cancelled once more.
        await asyncio.to_thread(command.end)
        raise
    finally:
        command.close()
    return command.result(code, check=check)


async def _pass_on(streams: Sequence[Stream]) -> None:
    """Read both to their ends; the first error of a function that sees the lines ends it."""
    tasks = [asyncio.create_task(_pump(stream)) for stream in streams]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(stream: Stream) -> None:
    async for data in _read(stream.file):
        for line in stream.take(data):
            answer = stream.on_line(line) if stream.on_line is not None else None
            if inspect.isawaitable(answer):
                await answer


async def _read(file: IO[bytes]) -> AsyncIterator[bytes]:
    """What comes, as it comes; no data is the end."""
    fd = file.fileno()
    os.set_blocking(fd, False)
    data = b"first"
    while data:
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            await _readable(fd)
            continue
        yield data
        await asyncio.sleep(0)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
