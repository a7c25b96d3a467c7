"""Writes the golden log, and by the oracle what it must fold to."""

from __future__ import annotations

import json

from stream.fold.spec import FOLD_VERSION
from tests.golden.log import EXPECTED, LOG, SPECS, make_log, sha256, write_log
from tests.oracle import oracle_canonical

log = make_log()
states = {name: oracle_canonical(log, spec, 0) for name, spec in SPECS.items()}
LOG.write_text(write_log(log))
expected = {name: {"sha256": sha256(canonical), "counters": canonical["counters"]} for name, canonical in states.items()}
EXPECTED.write_text(json.dumps({"fold_version": FOLD_VERSION} | expected, indent=1) + "\n")
