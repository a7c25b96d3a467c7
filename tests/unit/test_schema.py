"""The published schemas are those of the code."""

import json
from pathlib import Path

from stream.schema import json_schemas

FOLDER = Path(__file__).parents[2] / "docs" / "schema"


def test_schemas_in_docs_equal_those_of_the_records() -> None:
    """Someone who writes a client from docs/schema must meet the same wire; `python -m stream.schema` renews the files."""
    published = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}

    assert published == json.loads(json.dumps(json_schemas()))


def test_trace_schema_names_every_field_of_the_seed() -> None:
    """Traces written for the library this carries over must still be understood: its sixteen fields, by hand from its reference."""
    seed = (
        "trace_id query agent model engine steps result outcome feedback started_at ended_at "
        "total_tokens total_latency_seconds metadata messages"
    ).split()

    assert set(seed) <= set(json_schemas()["Trace"]["$defs"]["Trace"]["properties"])
