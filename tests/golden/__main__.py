"""Writes the golden log, and by the oracle what it must fold to."""

from __future__ import annotations

import json

from stream.fold.spec import FOLD_VERSION
from tests.golden.log import EXPECTED, LOG, REWARDED, SPEC, make_log, sha256, write_log
from tests.oracle import oracle_canonical

log = make_log()
canonical = oracle_canonical(log, SPEC, 0)
LOG.write_text(write_log(log))
hashes = {"sha256": sha256(canonical), "sha256_rewarded": sha256(oracle_canonical(log, REWARDED, 0))}
EXPECTED.write_text(json.dumps({"fold_version": FOLD_VERSION, **hashes, "counters": canonical["counters"]}, indent=1) + "\n")
