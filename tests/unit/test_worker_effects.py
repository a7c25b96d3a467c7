"""What a chunk sends elsewhere must say where it stood, keep its bytes, and always fit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from stream.fold.elsewhere import dead_letter, forward
from stream.fold.fold import Misplaced, Refused
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.worker import effects
from stream.worker.effects import Effects
from stream.worker.holdings import HeldPartition


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None
    key: bytes | None = b"t1"
    timestamp: int = 1_700_000_000_000


SPEC = FoldSpec(partitions=4, horizon=10, max_classes=10, max_arms=10, keep_minutes=1, keep_hours=1, keep_days=1, classifier="seed", max_record_bytes=20_000)


def refused(offset: int = 7, reason: str = "not_json", detail: str = "no") -> Refused:
    return Refused(offset=offset, reason=reason, detail=detail)


def held_partition() -> HeldPartition:
    return HeldPartition(state=PartitionState(2, SPEC), changelog=None)  # type: ignore[arg-type]


class Outbox:
    """Takes what is sent; acknowledges when told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes | None, bytes | None]] = []
        self.futures: list[asyncio.Future[None]] = []

    async def __call__(self, topic, partition, key, value, headers=()):
        self.sent.append((topic, partition, key, value))
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


def test_dead_letter_keeps_the_bytes_and_says_where_they_stood():
    """An operator finds the record again by its coordinates, and replays exactly what was sent."""
    letter = dead_letter(Record(7, b"{oops"), refused(), partition=2, epoch=1, max_record_bytes=20_000)
    assert (letter.topic, letter.partition, letter.key, letter.value) == ("eddy.traces.dlt", 2, b"t1", b"{oops")
    assert dict(letter.headers) == {
        "eddy-topic": b"eddy.traces",
        "eddy-partition": b"2",
        "eddy-offset": b"7",
        "eddy-epoch": b"1",
        "eddy-timestamp": b"1700000000000",
        "eddy-reason": b"not_json",
        "eddy-detail": b"no",
    }


@pytest.mark.parametrize("size", [15_904, 15_905, 20_000, 1_000_000])
def test_dead_letter_fits_whatever_the_record_was(size: int):
    """A dead letter that the broker refuses would stop its partition for ever; one that is cut says so.

    4,096 bytes are left for key and headers, so of 20,000 bytes 15,904 are the most that stay whole.
    """
    letter = dead_letter(Record(7, b"x" * size, key=b"k" * 10_000), refused(reason="too_large", detail="ü" * 500), partition=2, epoch=0, max_record_bytes=20_000)
    whole = len(letter.key or b"") + len(letter.value or b"") + sum(len(name) + len(value) for name, value in letter.headers)
    assert whole <= 20_000
    assert dict(letter.headers).get("eddy-cut") == (None if size == 15_904 else str(size).encode())


def test_dead_letter_of_a_tombstone_is_one():
    """A null value is bytes untouched too; a producer refuses to send it without any key, which would stop the partition for ever."""
    letters = [dead_letter(Record(7, value, key=None), refused(reason="tombstone"), partition=0, epoch=0, max_record_bytes=20_000) for value in (None, b"{")]
    assert [(letter.key, letter.value) for letter in letters] == [(b"", None), (None, b"{")]


def test_dead_letter_carries_a_lone_surrogate_without_failing():
    """The detail quotes a hostile record; encoding it must not raise."""
    assert dict(dead_letter(Record(7, b"x"), refused(detail="\ud800"), partition=0, epoch=0, max_record_bytes=20_000).headers)["eddy-detail"] == b"?"


def test_forward_goes_where_the_trace_id_belongs_and_says_whence():
    """The copy is a record like any other: the same bytes under the right key in the right partition."""
    sent = forward(Record(9, b"{}", key=None), Misplaced(offset=9, key=b"t1", partition=3, reason="wrong_key"), partition=2)
    assert (sent.topic, sent.partition, sent.key, sent.value, sent.headers) == ("eddy.traces", 3, b"t1", b"{}", (("eddy-forwarded", b"2/9"),))


async def test_effects_stay_with_their_partition_until_a_checkpoint_awaits_them():
    """A checkpoint that covers a refused record is sent only when its dead letter is acknowledged (P4 with P5)."""
    outbox, held = Outbox(), held_partition()
    await Effects(outbox, max_record_bytes=20_000).publish(
        held, [refused(5), Misplaced(offset=6, key=b"a", partition=1, reason="wrong_partition")], [Record(5, b"x"), Record(6, b"{}")]
    )
    assert [topic for topic, *_ in outbox.sent] == ["eddy.traces.dlt", "eddy.traces"]
    assert held.effects == outbox.futures


async def test_effects_that_the_active_fold_has_sent_are_not_sent_again():
    """Another fold reads the log from its start: a second copy of what has left the horizon would count again, in both folds.

    The active fold has committed 7: its dead letter of 5 and its forward of 6 are on the log, those of 7 may not be.
    """
    outbox, held = Outbox(), held_partition()
    held.handled_to = 7
    outcomes = [refused(5), Misplaced(offset=6, key=b"a", partition=1, reason="wrong_partition"), refused(7), Misplaced(offset=8, key=b"b", partition=1, reason="wrong_key")]
    await Effects(outbox, max_record_bytes=20_000).publish(held, outcomes, [Record(offset, b"%d" % offset) for offset in range(5, 9)])
    assert [value for *_, value in outbox.sent] == [b"7", b"8"]
    assert held.effects == outbox.futures


async def test_effects_wait_when_too_many_are_open(monkeypatch: pytest.MonkeyPatch):
    """A flood of garbage is slowed down to what the broker takes, not kept in memory."""
    monkeypatch.setattr(effects, "MOST_IN_FLIGHT", 2)
    outbox, held = Outbox(), held_partition()
    publishing = asyncio.create_task(Effects(outbox, max_record_bytes=20_000).publish(held, [refused(n) for n in range(3)], [Record(n, b"x") for n in range(3)]))
    await asyncio.sleep(0)
    assert not publishing.done()
    for future in outbox.futures:
        future.set_result(None)
    await publishing
    assert held.effects == []
