"""Kills, pauses and replaces workers while a log is written, then holds everything they left behind against a single-threaded fold of that log.

    python -m tests.faults.oracle --kills 50
    python -m tests.faults.oracle --kills 20 --broker kafka
    python -m tests.faults.oracle --pauses 20 --workers 2 --broker kafka

The last line is JSON; the exit status is 0 only when nothing differs and all faults that were asked for happened.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stream.broker import EmbeddedBroker
from stream.provision import TopicPlan, provision
from stream.settings import Settings
from tests.faults.judge import Verdict, judge
from tests.faults.run import Broker, Faults, Publisher, environ_of, settings_for
from tests.faults.workers import Fleet, say

COMPACTION_LAG_MS = 20_000
"""Of the changelogs on Kafka: still longer than a recovery, and short enough that the cleaner takes checkpoints away all the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked of a run; see `--help`."""

    kills: int = 0
    pauses: int = 0
    workers: int = 1
    broker: str = "embedded"
    records: int = 100_000
    seed: int = 0
    horizon: int = 262_144
    session_s: float = 6.0
    keep: bool = True
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="eddy-faults-")))


async def run(options: Options) -> dict[str, int | float]:
    """Do one run.

    1. Start the broker, the workers and the publisher.
    2. Let the faults happen while the log is written, and the rest of the log be published.
    3. Let the workers drain, and judge what stands there.

    Returns:
        The last line of the output.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    say(f"seed {options.seed}, folder {options.folder}")
    broker = make_broker(options)
    settings = settings_for(await broker.start(), data_dir=options.folder / "harness", horizon=options.horizon, session_timeout_s=options.session_s)
    fleet = Fleet(options.folder, environ_of(settings), patience=5 + options.kills + 3 * options.pauses)
    publisher = Publisher(settings, traces=options.records, seed=options.seed, folder=options.folder, idempotent=options.broker == "kafka")
    faults = Faults(fleet, publisher, kills=options.kills, pauses=options.pauses, session_s=settings.session_timeout_s, rng=random.Random(options.seed))
    try:
        await provision(settings, busy_changelogs(settings) if options.broker == "kafka" else ())
        await suffer(options, fleet, publisher, faults)
        verdict = await judge(settings, fleet, publisher)
    except TimeoutError as exc:
        verdict = Verdict(mismatches=[str(exc)])
    finally:
        await fleet.close()
        await broker.stop()
    return report(faults, verdict, compactions=getattr(broker, "compactions", 0))


async def suffer(options: Options, fleet: Fleet, publisher: Publisher, faults: Faults) -> None:
    """Start workers and publisher, and let the faults happen until the whole log is out."""
    for number in range(options.workers):
        fleet.add(f"worker-{number}")
    for worker in fleet.workers.values():
        await worker.ready()
    fleet.guard()
    publisher.start()
    try:
        await faults.happen()
    finally:
        publisher.close()


def make_broker(options: Options) -> Broker:
    """Make the broker that the run owns: it outlives the workers."""
    if options.broker == "embedded":
        return EmbeddedBroker(options.folder / "broker")
    from tests.kafka.broker import KafkaBroker

    return KafkaBroker(options.folder / "broker", forced_compaction=True)


def busy_changelogs(settings: Settings) -> list[TopicPlan]:
    """Plan the worker's changelogs as ones that are compacted throughout; a worker takes them as they are."""
    from stream.fold.spec import FoldSpec

    app = f"eddy-{FoldSpec.of(settings).id}"
    lag = str(COMPACTION_LAG_MS)
    busy = {"cleanup.policy": "compact", "min.compaction.lag.ms": lag, "max.compaction.lag.ms": str(COMPACTION_LAG_MS + 1_000), "delete.retention.ms": lag}
    partitions = {"checkpoints": settings.partitions, "routing_state": 1}
    return [TopicPlan(name=f"{app}-{table}-changelog", partitions=count, config=busy) for table, count in partitions.items()]


def report(faults: Faults, verdict: Verdict, *, compactions: int) -> dict[str, int | float]:
    """Put the last line together; every fault that was found is said on the way."""
    for fault in verdict.mismatches[:50]:
        say(f"MISMATCH {fault}")
    say(f"{faults.early_kills} more kills hit a recovery; {faults.visits} guests came and left; {len(faults.fleet.crashes)} lives ended unasked")
    return {
        "kills": faults.kills,
        "pauses": faults.pauses,
        "compactions": compactions,
        "records": verdict.records,
        "mismatches": len(verdict.mismatches),
        "lost": verdict.lost,
        "double_counted": verdict.double_counted,
        "worst_recovery_s": round(max(faults.recoveries_s, default=0.0), 2),
    }


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.oracle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="SIGKILLs that hit a worker which has folded since its start")
    parser.add_argument("--pauses", type=int, default=0, help="SIGSTOPs, each beyond the session time-out")
    parser.add_argument("--workers", type=int, default=1, help="workers that stay; guests come and go besides")
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--records", type=int, default=100_000, help="distinct traces; duplicates, feedback and the rest come on top")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--horizon", type=int, default=262_144, help="join index rows a partition; below records/8 the counts of the fold itself allow doubles")
    parser.add_argument("--session-s", type=float, default=6.0, help="session time-out of the workers' group")
    parser.add_argument("--folder", type=Path, default=argparse.SUPPRESS, help="where broker, workers and logs go; when not given a new one, removed when all was well")
    given = vars(parser.parse_args(arguments))
    return Options(**given, keep="folder" in given)


def main() -> None:
    """Run, print the last line, and end with what it says."""
    options = parse()
    result = asyncio.run(run(options))
    wrong = result["mismatches"] or result["lost"] or result["double_counted"] or result["kills"] < options.kills or result["pauses"] < options.pauses
    if wrong:
        say(f"not as it should be; {options.folder} holds the logs of all processes")
    elif not options.keep:
        shutil.rmtree(options.folder)
    print(json.dumps(result))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
