"""The process that a cycle runs in: `python -m stream.cycles.child [CYCLE_ID]`, with its plan on standard input.

1. Take the lock; another process that has it is at work.
2. Finish promotions that were begun, and carry out persons' words on candidates.
3. Go on with the cycle, where one is named, until it ends or waits.

A kill at any moment is harmless: the next process goes on from the last step in the ledger.
"""

from __future__ import annotations

import logging
import os
import sys
import time

from stream.archive.schema import WriterLock
from stream.cycles import plan as plans
from stream.cycles.ledger import Ledger
from stream.cycles.machine import Bench, Machine
from stream.cycles.promoting import carry_out_words, discard
from stream.cycles.steps import STEPS

NICE = 10
"""Whoever serves requests on this machine comes first."""


def work(plan: plans.Plan, cycle_id: str) -> None:
    """Do what there is to do.

    Raises:
        NotOwnedError: another process has the lock.
    """
    plan.data_dir.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(plan.ledger)  # 1
    try:
        with Ledger(plan.ledger, time.time) as ledger:
            bench = Bench(plan, ledger, time.time)
            carry_out_words(bench)  # 2
            if cycle_id:
                Machine(bench, STEPS, discard).run(cycle_id)  # 3
    finally:
        lock.release()


def main() -> None:
    """Run as a process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.nice(NICE)
    work(plans.decode(sys.stdin.read()), sys.argv[1] if len(sys.argv) > 1 else "")


if __name__ == "__main__":
    main()
