"""An archive belongs to a log of so many partitions: where another number is set, nothing is put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.archive.archive import Archive
from stream.archive.intake import Rules
from stream.archive.restore import ARCHIVE_FILE, restore
from stream.errors import TopicMismatchError
from stream.settings import load
from tests.unit.archive_support import Log


@pytest.mark.parametrize("asked", [4, 16])
async def test_restore_refuses_another_number_of_partitions_before_it_asks_the_broker(asked: int, tmp_path: Path) -> None:
    """Fewer cannot hold the records, more would move trace ids; nothing answers at port 1, so the refusal came first."""
    archive = await Archive.open(tmp_path / ARCHIVE_FILE, Rules(partitions=8, max_bytes=10_000, classify=str))
    await archive.close()

    with pytest.raises(TopicMismatchError, match=r"log of 8 partitions .* set EDDY_PARTITIONS=8"):
        await restore(load(bootstrap="127.0.0.1:1", partitions=asked, data_dir=tmp_path))


async def test_archive_of_old_is_refused_by_the_partitions_that_it_has(tmp_path: Path) -> None:
    """One made before the number was noted shows the partitions that had records: with partition 5 there were six or more."""
    archive = await Archive.open(tmp_path / ARCHIVE_FILE, Rules(partitions=8, max_bytes=10_000, classify=str))
    await archive.append({5: [Log().trace("t")]})
    await archive._database.execute("DELETE FROM marks WHERE name = 'partitions'")
    await archive.close()

    with pytest.raises(TopicMismatchError, match="log of 6 partitions"):
        await restore(load(bootstrap="127.0.0.1:1", partitions=4, data_dir=tmp_path))
