"""The README's client, run as it stands there: what a reader copies must work."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from stream.children import Child
from stream.fold.totals import Sum
from stream.overview import FIRST_SUM
from stream.provision import provision
from stream.records import PartitionStatistics
from stream.settings import Settings
from stream.topics import STATISTICS
from tests.broker.client_tools import values_of
from tests.conftest import Broker
from tests.readme import CHECKOUT, COST_USD, SCORE, TOKENS, client_program

pytestmark = pytest.mark.slow

WITHIN_S = 60.0
"""A loaded machine takes ten seconds to start a worker, and the group six to let it in."""


@pytest.fixture
async def settings(fresh_broker: Broker, make_settings: Callable[..., Settings]) -> Settings:
    made = make_settings(fresh_broker.bootstrap)
    await provision(made)
    return made


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """A worker process, ended in order afterwards."""
    environment = {f"EDDY_{name.upper()}": str(getattr(settings, name)) for name in ("bootstrap", "partitions", "data_dir", "worker_port")}
    process = Child("worker", "worker", environment=environment, log_path=tmp_path / "worker.log", say=lambda text: None).launch()
    yield
    process.terminate()
    process.wait(30)


async def totals(settings: Settings) -> Counter[Sum]:
    """Add up what is known of the traces in the newest total of every partition and class."""
    newest: dict[tuple[int, str], PartitionStatistics] = {}
    for record in msgspec.convert(await values_of(settings, STATISTICS.name), list[PartitionStatistics]):
        newest[record.partition, record.query_class] = record
    rows = [row[FIRST_SUM:] for record in newest.values() for arm in record.arms for row in arm.buckets]
    return Counter({name: sum(row[name] for row in rows if name < len(row)) for name in Sum})


@pytest.mark.usefixtures("worker")
async def test_readme_client_publishes_a_trace_and_a_rating_that_are_counted(settings: Settings, tmp_path: Path) -> None:
    """The program says 812 tokens, 0.0121 USD = 12,100,000 nano-USD, and a person's rating of 1 = 1,000,000 micro: each must be in the totals, once."""
    environ = os.environ | {"EDDY_BOOTSTRAP": settings.bootstrap, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", client_program()], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    deadline_s = time.monotonic() + WITHIN_S
    while not (seen := await totals(settings))[Sum.HUMAN] and time.monotonic() < deadline_s:
        await asyncio.sleep(0.3)
    (trace, rating) = sorted(await values_of(settings), key=lambda value: value["type"], reverse=True)

    assert (trace["query"], trace["result"], trace["total_tokens"], trace["cost_usd"]) == ("Sort a list in Python", "sorted(xs)", TOKENS, COST_USD)
    assert (rating["trace_id"], rating["score"]) == (trace["trace_id"], SCORE)
    expected = {Sum.COUNT: 1, Sum.COST_KNOWN: 1, Sum.COST_NANO_USD: 12_100_000, Sum.LATENCY_KNOWN: 1, Sum.TOKENS_KNOWN: 1, Sum.TOKENS: 812}
    expected |= {Sum.HUMAN: 1, Sum.HUMAN_MICRO: 1_000_000, Sum.HUMAN_MICRO_SQ: 10**12}
    del seen[Sum.LATENCY_MS]
    assert {name: number for name, number in seen.items() if number} == expected
