"""What the archive costs a row, without a broker: appending, indexing, and asking when it holds many.

    python -m benchmarks.archive --quick

The learner with its fetching is in `benchmarks.throughput`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import report
from benchmarks.inside import Standing, chunks, standing, timed
from benchmarks.options import Options, asked
from benchmarks.processes import say
from benchmarks.report import Figures
from benchmarks.workload import SCENARIOS
from stream.archive.archive import Archive
from stream.archive.intake import Rules
from stream.archive.reader import ArchiveReader
from stream.learner import INDEX_AFTER_RECORDS
from stream.process import tune
from stream.reading.names import NameReader
from stream.reading.query_class import classifier

TRACES, QUICK_TRACES = 830_000, 10_000
"""With their ratings some 10^6 rows."""
CHUNK = 690
"""Records of a fetched chunk of 1 MiB."""
PARTITIONS = 8
QUERIES, QUICK_QUERIES = 2_000, 100
MAX_BYTES = 1_000_000
NOTES = (
    "`archive_us_per_row` is processor time of the archive's process a row, appending and indexing, SQLite's thread included, less its own reading of the same rows.",
    "Rows come in rounds, as the learner reads them under load: a chunk of 690 records from each of 8 partitions; the indexes are written every 50,000 rows.",
)


async def measure(options: Options) -> Figures:
    """Append, index, ask."""
    path, traces = options.folder / "archive.sqlite", options.size(TRACES, QUICK_TRACES)
    rules = Rules(partitions=PARTITIONS, max_bytes=MAX_BYTES, classify=classifier("seed"))
    append, rows, keys = await _filled(path, rules, traces)
    decode_s = _decoding(rules, min(traces, 50_000))
    figures = {
        "archive_rows": rows,
        "archive_rows_per_s": rows / append["wall_s"],
        "archive_us_per_row": append["cpu_s"] / rows * 1e6 - decode_s * 1e6,
        "archive_us_per_row_with_decoding": append["cpu_s"] / rows * 1e6,
        "index_us_per_row": append["index_s"] / rows * 1e6,
        "decode_us_per_row": decode_s * 1e6,
        "archive_bytes_per_row": path.stat().st_size / rows,
    }
    say(", ".join(f"{name} {value:,.1f}" for name, value in figures.items()))
    return figures | _asked(path, keys, options)


async def _filled(path: Path, rules: Rules, traces: int) -> tuple[dict[str, float], int, list[str]]:
    """Write an archive; returns what it took, the rows in it, and ids of some traces."""
    archive = await Archive.open(path, rules)
    taken = {"wall_s": 0.0, "cpu_s": 0.0, "index_s": 0.0}
    ends, rows, keys, rng = [0] * PARTITIONS, 0, [], random.Random(1)
    try:
        for records in chunks(standing(SCENARIOS["8x6"], traces, per_s=10_000), CHUNK * PARTITIONS):
            placed = [[record._replace(offset=ends[number] + place) for place, record in enumerate(records[number::PARTITIONS])] for number in range(PARTITIONS)]
            ends = [end + len(chunk) for end, chunk in zip(ends, placed, strict=True)]
            rows += len(records)
            keys += [rng.choice(chunk).key.decode() for chunk in placed if chunk]
            await _append(archive, dict(enumerate(placed)), taken)
        await _index(archive, taken)
    finally:
        await archive.close()
    return taken, rows, keys


async def _append(archive: Archive, chunk: dict[int, list[Standing]], taken: dict[str, float]) -> None:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    await archive.append(chunk)
    taken["wall_s"] += time.perf_counter() - began_s
    taken["cpu_s"] += time.process_time() - cpu_s
    if archive.unindexed >= INDEX_AFTER_RECORDS:
        await _index(archive, taken)


async def _index(archive: Archive, taken: dict[str, float]) -> None:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    await archive.index()
    taken["wall_s"] += time.perf_counter() - began_s
    taken["cpu_s"] += time.process_time() - cpu_s
    taken["index_s"] += time.process_time() - cpu_s


def _decoding(rules: Rules, traces: int) -> float:
    """Processor seconds a row that reading takes which the archive itself does: JSON, types, names."""
    reader = NameReader(max_bytes=rules.max_bytes, classify=rules.classify)
    records = [record.value for record in standing(SCENARIOS["8x6"], traces, per_s=10_000)]

    def work() -> None:
        for value in records:
            reader.read(value)

    return timed(work) / len(records)


def _asked(path: Path, keys: list[str], options: Options) -> dict[str, float | int | None]:
    """Time of queries, in ms, median and p99."""
    rng, times = random.Random(2), options.size(QUERIES, QUICK_QUERIES)
    with ArchiveReader(path) as reader:
        def first_100() -> object:
            return [trace for _, trace in zip(range(100), reader.traces(query_class=f"class-{rng.randrange(8):04}"), strict=False)]
        figures = _query("by_id", times, lambda: reader.trace(rng.choice(keys)))
        figures |= _query("newest_100_of_class", max(10, times // 20), first_100)
        figures |= _query("count_of_class", max(5, times // 200), lambda: reader.count(query_class=f"class-{rng.randrange(8):04}"))
        figures |= _query("count_all", max(5, times // 200), reader.count)
    return figures


def _query(name: str, times: int, ask: Callable[[], object]) -> dict[str, float | int | None]:
    taken = []
    for _ in range(times):
        began_s = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - began_s) * 1e3)
    taken.sort()
    middle, late = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
    say(f"{name}: {middle:.2f} ms, p99 {late:.2f} ms")
    return {f"query_{name}_ms_median": middle, f"query_{name}_ms_p99": late}


def main() -> None:
    """Measure and report."""
    tune()
    with asked("archive", __doc__) as options:
        figures = asyncio.run(measure(options))
        report.finish("archive", figures, conditions=f"No broker, {options.size(TRACES, QUICK_TRACES):,} traces.", notes=NOTES, write=options.writes)


if __name__ == "__main__":
    main()
