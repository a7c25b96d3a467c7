"""Reading an untrusted record of `eddy.traces`: a reading, or a refusal with its reason."""

from __future__ import annotations

REASONS: tuple[str, ...] = (
    "tombstone",
    "too_large",
    "not_json",
    "wrong_type",
    "missing_field",
    "unknown_schema",
    "unknown_type",
    "bad_trace_id",
    "bad_name",
    "bad_agent",
    "out_of_range",
    "future",
    "internal_error",
)
"""Why a record is refused: a closed set, label values of metrics."""
