"""Tells whether the learner has everything: nothing is lost when an embedded broker ends now."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from stream.errors import EddyError, TopicMismatchError
from stream.fold.spec import FoldSpec
from stream.topic_reader import reading
from stream.topics import OVERRIDES, ROUTING, STATISTICS, TRACES, checkpoints_topic, routing_state_topic

if TYPE_CHECKING:
    from stream.settings import Settings

Place = tuple[str, int]
"""Topic and partition."""


async def is_drained(settings: Settings) -> bool:
    """Tell whether archive and mirror reach the ends of the log, of the worker's changelogs and of what is published."""
    fold = FoldSpec.of(settings).id
    published = (TRACES.name, STATISTICS.name, ROUTING.name, OVERRIDES.name)
    try:
        ends = await _ends(settings, *published)
        with suppress(TopicMismatchError):  # no worker has lived long enough to make its changelogs
            ends |= await _ends(settings, checkpoints_topic(fold), routing_state_topic(fold))
        return reaches(archived(settings), ends)
    except (EddyError, OSError, sqlite3.Error):
        return False


async def _ends(settings: Settings, *topics: str) -> dict[Place, int]:
    async with reading(settings, *topics) as reader:
        return {(partition.topic, partition.partition): end for partition, end in (await reader.ends()).items()}


def reaches(archived: Mapping[Place, int], ends: Mapping[Place, int]) -> bool:
    """Tell whether everything that holds records is archived to its end.

    Example:
        >>> reaches({("t", 0): 3}, {("t", 0): 3, ("t", 1): 0}), reaches({("t", 0): 3}, {("t", 0): 4})
        (True, False)
    """
    return all(archived.get(place, 0) >= end for place, end in ends.items())


def archived(settings: Settings) -> dict[Place, int]:
    """Up to which physical offset the archive, and its mirror, have each partition; none where there is no archive yet."""
    from stream.archive.restore import ARCHIVE_FILE
    from stream.archive.schema import open_for_reading

    if not (settings.data_dir / ARCHIVE_FILE).exists():
        return {}
    with closing(open_for_reading(settings.data_dir / ARCHIVE_FILE)) as database:
        log = database.execute("SELECT partition, offset + 1 - base FROM positions").fetchall()
        mirrored = database.execute("SELECT topic, partition, next_offset FROM mirror_positions").fetchall()
    return {(TRACES.name, partition): end for partition, end in log} | {(topic, partition): end for topic, partition, end in mirrored}
