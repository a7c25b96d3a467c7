"""The JSON Schema of every record on every topic, as `docs/schema/` holds it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from stream.topics import TOPICS


def json_schemas() -> dict[str, dict[str, Any]]:
    """Make the schema of each record.

    Returns:
        JSON Schema (draft 2020-12) by record name, as `Trace`, `RoutingUpdate`, ….
    """
    schemas = {}
    for topic in TOPICS:
        for record in topic.records:
            (reference,), components = msgspec.json.schema_components([record], ref_template="#/$defs/{name}")
            schemas[record.__name__] = {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": record.__name__,
                "description": f"On {topic.name}, keyed by {topic.key}.",
                **reference,
                "$defs": components,
            }
    return schemas


def write(folder: Path) -> None:
    """Write one file a record into `folder`, which is made when it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in json_schemas().items():
        (folder / f"{name}.json").write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schema"))
