"""The overrides of `stream.transport` stand on upstream code that may change under them."""

from __future__ import annotations

import importlib.metadata

import pytest
from aiokafka.consumer import fetcher

from stream.record_batches import BatchwiseRecords
from stream.transport import pins


def test_overridden_upstream_methods_are_those_the_overrides_were_written_for():
    """A changed upstream method makes an override wrong without any test of behaviour noticing at once."""
    assert pins.changed() == [], "read what has changed upstream, see whether the override in stream/transport still holds, then pin the new fingerprint"


def test_pins_are_those_of_upstream_where_a_class_of_ours_stands_in_its_place(monkeypatch: pytest.MonkeyPatch):
    """A reader that ran in this process has put ours into aiokafka's module; what is pinned is what it extends."""
    monkeypatch.setattr(fetcher, "PartitionRecords", BatchwiseRecords)

    assert pins.changed() == []


def test_pins_notice_a_change(monkeypatch: pytest.MonkeyPatch):
    """The guard itself must be able to fail: a fingerprint of other source does not pass."""
    path = next(iter(pins.PINS))
    monkeypatch.setitem(pins.PINS, path, "0" * 16)
    assert pins.changed() == [path]


def test_pinned_versions_are_the_installed_ones():
    """The fingerprints were taken from these releases; another one is not tried unseen."""
    assert importlib.metadata.version("faust-streaming") == "0.15.3"
    assert importlib.metadata.version("aiokafka").startswith("0.14.")


def test_faust_runs_its_compiled_stream_iterator():
    """The pure-Python one acknowledges messages of an earlier assignment that it skips; the compiled one does not."""
    from faust import streams

    assert streams._CStreamIterator is not None
