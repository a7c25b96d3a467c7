"""What worker and learner serve to Prometheus: each its own metrics, and those only."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from stream import metrics
from stream.health import HealthServer

CHECKOUT = Path(__file__).parents[2]
USERS = {"LEARNER": ["stream/learner.py", "stream/archive"], "WORKER": ["stream/app.py", "stream/worker", "agents", "tables"]}
"""Where the code of each process stands."""


async def scraped(registry: CollectorRegistry, folder: Path) -> str:
    """Serve a registry, and read it as Prometheus does."""
    address = folder / "address.json"
    server = HealthServer(host="127.0.0.1", port=0, address_file=address, is_live=str, is_ready=str, metrics=registry)
    await server.start()
    try:
        return await asyncio.to_thread(read, f"http://127.0.0.1:{json.loads(address.read_text())['port']}/metrics")
    finally:
        await server.stop()


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


async def test_process_exports_its_own_metrics_and_no_others(tmp_path: Path) -> None:
    """An archive of 0 bytes at the worker, or a last progress in 1970 at the learner, is an alert that fires for ever."""
    worker, learner = await scraped(metrics.WORKER, tmp_path), await scraped(metrics.LEARNER, tmp_path)

    assert "eddy_last_progress_timestamp_seconds" in worker
    assert "eddy_archive_bytes" not in worker
    assert "eddy_archive_bytes" in learner
    assert "eddy_last_progress_timestamp_seconds" not in learner
    assert "python_info" in worker
    assert "python_info" in learner


@pytest.mark.parametrize("process", USERS)
def test_process_feeds_only_metrics_that_it_exports(process: str) -> None:
    """What is counted into the other's registry is seen by nobody."""
    exported = {metric.name for metric in getattr(metrics, process).collect()}
    paths = [path for place in USERS[process] for path in ([CHECKOUT / place] if place.endswith(".py") else (CHECKOUT / place).rglob("*.py"))]

    fed = {name for path in paths for name in re.findall(r"\bmetrics\.([A-Z_]+)\b", path.read_text()) if isinstance(getattr(metrics, name), MetricWrapperBase)}

    assert len(fed) > 5
    assert {name for name in fed if getattr(metrics, name)._name not in exported} == set()


def test_process_serves_its_own_registry() -> None:
    """The two servers are built in two places, and either could be given the other's."""
    assert "metrics=metrics.WORKER" in (CHECKOUT / "stream/app.py").read_text()
    assert "metrics=metrics.LEARNER" in (CHECKOUT / "stream/learner.py").read_text()
