"""A stream so slow that every checkpoint holds a record or two, for a simulated week: its recovery beside that of a fast one."""

from __future__ import annotations

import time

from benchmarks.inside import Partition, chunks, standing
from benchmarks.options import Options
from benchmarks.processes import say
from benchmarks.report import Figures
from benchmarks.workload import SCENARIOS
from stream.fold.checkpoint import recover

TRACES_PER_S = 10 / 8
"""Of one partition of eight."""
WEEK_S, QUICK_S = 604_800, 3_600
RECORDS_PER_TRACE = 1.2
FAST_CHUNK = 50_000


def measure(options: Options) -> Figures:
    """Write the same records slowly and fast, and recover from what stands in either changelog."""
    traces = int(TRACES_PER_S * options.size(WEEK_S, QUICK_S))
    slow, slow_s = _recovered(traces, chunk=max(1, round(TRACES_PER_S * RECORDS_PER_TRACE)))
    fast, fast_s = _recovered(traces, chunk=FAST_CHUNK)
    say(f"slow stream: recovered in {slow_s:.2f} s from {len(slow.parts)} parts of {slow.checkpoints:,} checkpoints; fast: {fast_s:.2f} s from {len(fast.parts)}")
    return {
        "slow_recover_s": slow_s,
        "fast_recover_s": fast_s,
        "slow_changelog_parts": len(slow.parts),
        "fast_changelog_parts": len(fast.parts),
        "slow_changelog_bytes": slow.standing_bytes,
        "fast_changelog_bytes": fast.standing_bytes,
        "slow_written_bytes_per_trace": slow.written_bytes / traces,
    }


def _recovered(traces: int, *, chunk: int) -> tuple[Partition, float]:
    """Fold with a checkpoint after every chunk; returns the partition, and seconds to recover it from its changelog."""
    partition = Partition()
    for records in chunks(standing(SCENARIOS["8x6"], traces, per_s=TRACES_PER_S * RECORDS_PER_TRACE), chunk):
        partition.fold(records)
        partition.checkpoint()
    began_s = time.monotonic()
    state, _ = recover(partition.parts, number=0, spec=partition.spec)
    seconds = time.monotonic() - began_s
    assert state.offset == partition.state.offset
    return partition, seconds
