"""The page, served as the learner serves it and looked at with a real browser."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web

from stream.fold.totals import SUMS, Sum
from stream.records import Arm, ArmRouting, ArmStatistics, CycleFinished, CycleRequested, CycleStep, Override, PartitionStatistics, RoutingUpdate
from stream.settings import load
from stream.topics import CYCLES, DEAD_LETTERS, OVERRIDES, ROUTING, STATISTICS
from stream.web import mount
from stream.web.follower import DeadLetterCounts, Follower

HOSTILE = "<img src=x onerror=\"document.title='broken'\">"
CANDIDATE = {"name": "config/react", "standing": "promoted", "why": "better by 4 points"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@dataclass
class SeenRecord:
    """A record as a consumer hands it over."""

    topic: str
    key: bytes
    value: bytes | None
    partition: int = 0
    offset: int = 0
    headers: tuple[tuple[str, bytes], ...] = field(default=())


def statistics(query_class: str, arm: str, count: int, *, partition: int = 0) -> SeenRecord:
    row = [60, 0, 1] + [0] * SUMS
    row[3 + Sum.COUNT] = count
    record = PartitionStatistics(
        fold="f", partition=partition, offset=count, log_time_ms=0, query_class=query_class, arms=(ArmStatistics(arm=Arm(model=arm), buckets=(tuple(row),)),)
    )
    return SeenRecord(STATISTICS.name, f"f/{partition}/{query_class}".encode(), msgspec.json.encode(record))


def update(query_class: str, arm: str, other: str) -> SeenRecord:
    arms = tuple(
        ArmRouting(
            id=name,
            arm=Arm(model=name),
            probability=p,
            mean=p,
            interval=(p - 0.1, p + 0.1),
            effective_count=9.0,
            rated_count=9,
            count=9,
            cost_usd=0.002,
            latency_s=1.5,
            state="active",
            rated_share=0.36,
            worst_case=(0.29, 0.93),
        )
        for name, p in ((arm, 0.8), (other, 0.2))
    )
    record = RoutingUpdate(
        query_class=query_class,
        fold="f",
        policy="thompson",
        version=(1, 7),
        log_time_ms=0,
        exploration_share=0.05,
        interval_method="wilson",
        alpha=0.05,
        best_arm=arm,
        reason=f"{arm} leads",
        arms=arms,
    )
    return SeenRecord(ROUTING.name, query_class.encode(), msgspec.json.encode(record))


@pytest.fixture
async def page(unused_tcp_port: int, tmp_path: Path) -> AsyncIterator[tuple[str, Follower]]:
    app = web.Application()
    follower = mount(app, load(bootstrap="127.0.0.1:1", data_dir=tmp_path), archive_rows=lambda: 4321)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    yield f"http://127.0.0.1:{unused_tcp_port}", follower
    await runner.cleanup()


async def browse(*arguments: str) -> bytes:
    """Run Chromium on a profile of its own until it has done what it is told."""
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", f"--user-data-dir={profile}", "--virtual-time-budget=4000"]
        process = await asyncio.create_subprocess_exec(str(CHROMIUM), *flags, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return output


def feed(follower: Follower) -> None:
    for record in (
        statistics("code", "small", 700),
        statistics("code", "large", 30, partition=1),
        statistics(HOSTILE, HOSTILE, 5),
        update("code", "small", "large"),
        update(HOSTILE, HOSTILE, "large"),
        SeenRecord(OVERRIDES.name, b"pin/code", msgspec.json.encode(Override(kind="pin", query_class="code", arm=Arm(model="small"), reason=HOSTILE))),
        SeenRecord(OVERRIDES.name, b"rollout/*", msgspec.json.encode(Override(kind="rollout", share=0.05))),
        SeenRecord(CYCLES.name, b"c1", msgspec.json.encode(CycleRequested(cycle_id="c1", trigger="feedback_drop", requested_at=1.7e9, agent=HOSTILE))),
        SeenRecord(CYCLES.name, b"c1", msgspec.json.encode(CycleStep(cycle_id="c1", step="settled", number=8, at=1.7e9, detail={"candidates": [CANDIDATE, 7]}))),
        SeenRecord(CYCLES.name, b"c1", msgspec.json.encode(CycleFinished(cycle_id="c1", status="completed", at=1.7e9, detail={"said": "one candidate is live"}))),
        SeenRecord(DEAD_LETTERS.name, b"k", b"v", headers=(("eddy-reason", b"not_json"),)),
    ):
        follower.take(record)  # type: ignore[arg-type]


def test_dead_letters_of_a_log_made_anew_are_counted_anew() -> None:
    """Three letters, then the embedded broker comes back with one restored: offset 0 after 2 begins the count again."""
    counts = DeadLetterCounts()

    for offset in (0, 1, 2, 0):
        counts.take(0, offset, "not_json")
    counts.take(1, 5, "tombstone")

    assert counts.by_reason() == {"not_json": 1, "tombstone": 1}


async def test_state_adds_up_partitions_and_counts_dead_letters(page: tuple[str, Follower]) -> None:
    """The counts are sums over source partitions: 700 + 30 in `code`, 5 in the other class, 735 in all."""
    address, follower = page
    feed(follower)

    async with ClientSession() as session, session.get(f"{address}/api/state") as answer:
        state: dict[str, Any] = json.loads(await answer.text())

    assert state["overview"]["traces"] == 735
    assert state["overview"]["classes"]["code"]["count"] == 730
    assert {name: arm["count"] for name, arm in state["overview"]["classes"]["code"]["arms"].items()} == {"small": 700, "large": 30}
    assert state["dead_letters"] == {"total": 1, "reasons": {"not_json": 1}}
    assert state["archive_rows"] == 4321


async def test_page_allows_only_its_own_script(page: tuple[str, Follower]) -> None:
    """A policy of hashes keeps out whatever a hostile name might smuggle in; nothing is loaded from elsewhere."""
    address, _ = page

    async with ClientSession() as session, session.get(address) as answer:
        policy, html = answer.headers["Content-Security-Policy"], await answer.text()

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html


@needs_chromium
async def test_browser_shows_what_is_learned_and_runs_nothing_untrusted(page: tuple[str, Follower]) -> None:
    """A real browser renders the counts, bars and reasons; a class named like a tag stays text."""
    address, follower = page
    feed(follower)

    dom = (await browse("--dump-dom", address)).decode()

    assert "735" in dom
    assert "730 traces, thompson, version 1.7" in dom
    assert "80.0 %" in dom
    assert "9 (36 %)" in dom
    assert "4,321" in dom
    assert "rollout: 5.0 % of the requests follow what is learned" in dom
    assert "feedback_drop" in dom
    assert "one candidate is live" in dom
    assert "config/react: promoted. better by 4 points" in dom
    assert "<title>Eddy" in dom
    assert "&lt;img src=x" in dom
    assert "<img" not in dom.split("<script>")[0]


@needs_chromium
@pytest.mark.parametrize("size", ["1280,900", "420,900"])
async def test_browser_draws_a_picture(page: tuple[str, Follower], tmp_path: Path, size: str) -> None:
    """The page paints at a desk's and at a phone's width; the picture is kept for a person to look at."""
    address, follower = page
    feed(follower)
    picture = tmp_path / f"page-{size}.png"

    await browse(f"--window-size={size}", f"--screenshot={picture}", address)

    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
