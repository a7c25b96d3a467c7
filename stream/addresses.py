"""Where the processes of a data folder serve their health: each writes a file of its own, and one that was left over is no address."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Address(NamedTuple):
    """Where a process serves."""

    host: str
    port: int
    pid: int
    machine: str

    @property
    def url(self) -> str:
        """As a client is given it."""
        return f"http://{self.host}:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether its process lives; of another machine, or another container, that is not known, and it is taken to."""
        if self.machine != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return not _is_zombie(self.pid)


def address_file(folder: Path, command: str) -> Path:
    """Name the file in which this process writes where it serves: a folder has one learner, and any number of workers.

    Example:
        >>> address_file(Path("data"), "learner").name
        'learner.json'
    """
    return folder / (f"worker-{os.getpid()}.json" if command == "worker" else f"{command}.json")


def write_address(path: Path, *, host: str, port: int) -> None:
    """Write where this process serves, and take away what workers of this folder that have ended left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob("worker-*.json"):
        if (address := _read(left)) is not None and not address.is_running:
            left.unlink(missing_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(Address(host, port, os.getpid(), socket.gethostname())._asdict()))
    draft.replace(path)


def running(folder: Path, command: str) -> list[Address]:
    """Read where the processes of a command serve that run now, the youngest last.

    Args:
        folder: the data folder.
        command: `worker` or `learner`.
    """
    files = folder.glob("worker-*.json" if command == "worker" else f"{command}.json")
    found = map(_read, sorted(files, key=_written_at))
    return [address for address in found if address is not None and address.is_running]


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and nobody has asked how: it serves nothing."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def _written_at(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0  # its process took it away just now


def _read(path: Path) -> Address | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(path.read_text())
        return Address(str(said["host"]), int(said["port"]), int(said["pid"]), str(said["machine"]))
    return None
