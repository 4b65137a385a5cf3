"""Runs commands as processes of this host."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from ..errors import BackendUnavailable
from ..runner import Ran, Runner, program_of

#: What a command may say at most: the queue of a large cluster has some ten thousand lines.
OUTPUT_BYTES: Final = 64 * 1024 * 1024

#: What a command has said when it ends is in its pipes; a process that it left behind may hold them open.
LATE_SECONDS: Final = 0.2

#: Within this time a process that was killed is gone.
_GONE_SECONDS: Final = 5.0


class LocalRunner(Runner):
    """Runs commands here, each in a session of its own."""

    async def run(self, argv: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None) -> Ran:
        loop = asyncio.get_running_loop()
        self.commands[program_of(argv)] += 1
        try:
            transport, said = await loop.subprocess_exec(
                _Said, *argv, stdin=subprocess.DEVNULL, start_new_session=True, env=env
            )
        except OSError as exc:
            raise BackendUnavailable(f"{argv[0]} can't be started: {exc.strerror}", argv=argv) from exc
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait([said.exited])  # it is not cancelled with the call
                if said.overflown:
                    told = f"{argv[0]} said more than {OUTPUT_BYTES} bytes, and was ended"
                    raise BackendUnavailable(told, argv=argv)
                await said.closed_soon()
        except TimeoutError:
            told = f"{argv[0]} did not answer within {seconds:g} s, and was ended"
            raise BackendUnavailable(told, argv=argv) from None
        finally:
            if not said.exited.done() or said.overflown:
                _kill_group(transport.get_pid())
                await asyncio.wait([said.exited], timeout=_GONE_SECONDS)
            transport.close()
        code = transport.get_returncode()
        return Ran(tuple(argv), -1 if code is None else code, said.text(1), said.text(2))


class _Said(asyncio.SubprocessProtocol):
    """What a command says, and when it ended."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.overflown = False
        self._closed: asyncio.Future[None] = loop.create_future()
        self._pieces: dict[int, list[bytes]] = {1: [], 2: []}
        self._size = 0
        self._open = {1, 2}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._size += len(data)
        if self._size <= OUTPUT_BYTES:
            self._pieces[fd].append(data)
        elif not self.overflown:
            self.overflown = True
            self._note(self.exited)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open:
            self._note(self._closed)

    def process_exited(self) -> None:
        self._note(self.exited)

    async def closed_soon(self) -> None:
        """Return when all that it said has been read."""
        await asyncio.wait([self._closed], timeout=LATE_SECONDS)

    def text(self, fd: int) -> str:
        """What it said on a descriptor."""
        return b"".join(self._pieces[fd]).decode("utf-8", "replace")

    @staticmethod
    def _note(news: asyncio.Future[None]) -> None:
        if not news.done():
            news.set_result(None)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
