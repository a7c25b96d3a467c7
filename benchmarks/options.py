"""What every benchmark is asked on its command line."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BENCH_PYTHON = Path(__file__).parents[1] / ".venv" / "bench" / "bin" / "python"
"""The environment of what Eddy is measured against; `make bench` makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a benchmark is run.

    Attributes:
        broker: `kafka` or `embedded`.
        quick: small sizes, one round, no page: to see that it works.
        rounds: of what is repeated.
        folder: for brokers, logs and data.
        only: parts to run, by name; empty: all.
        profile_s: seconds of looking into processes while they work; 0: none.
    """

    broker: str
    quick: bool
    rounds: int
    folder: Path
    only: frozenset[str]
    profile_s: float

    def size(self, full: int, quick: int) -> int:
        """Choose a size."""
        return quick if self.quick else full

    def runs(self, part: str) -> bool:
        """Whether a part is asked for."""
        return not self.only or part in self.only

    @property
    def writes(self) -> bool:
        """Whether the page is updated: by whole runs at full size."""
        return not self.quick and not self.only


@contextmanager
def asked(module: str, description: str | None, *, parts: tuple[str, ...] = ()) -> Iterator[Options]:
    """Read the command line; the folder goes at the end unless it was named, or something failed.

    Args:
        module: name of the benchmark.
        description: for `--help`.
        parts: what `--only` may name.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round; docs/benchmarks.md stays as it is")
    parser.add_argument("--rounds", type=int, default=None, help="how often what is compared takes turns")
    parser.add_argument("--folder", type=Path, default=None, help="keep logs and data here")
    parser.add_argument("--only", nargs="*", choices=parts, default=[], help="run only these parts")
    parser.add_argument("--profile", type=float, default=0.0, metavar="SECONDS", help="look into the worker for so long while it works")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix=f"eddy-bench-{module}-"))
    folder.mkdir(parents=True, exist_ok=True)
    rounds = given.rounds or (1 if given.quick else 5)
    yield Options(broker=given.broker, quick=given.quick, rounds=rounds, folder=folder, only=frozenset(given.only), profile_s=given.profile)
    if given.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
