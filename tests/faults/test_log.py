"""The fault runs' own tools: the log that they publish, and the comparisons that must see what is wrong."""

from collections import Counter

from stream.records import Arm, ArmStatistics, PartitionStatistics
from tests.faults.compare import compare_dead_letters, compare_forwards, compare_published, count_learned, count_sent, difference, lost_and_double
from tests.faults.log import Kind, Sent, partition_of, write_log
from tests.faults.readback import Stood, newest

OPTIONS = {"seed": 5, "partitions": 4, "now_s": 1.8e9}


def test_the_same_seed_writes_the_same_log():
    """The publisher's process and the run that checks it write the log apart, and must mean the same."""
    assert list(write_log(300, **OPTIONS)) == list(write_log(300, **OPTIONS))


def test_the_log_holds_every_kind_and_each_trace_once_before_its_duplicates():
    """A run proves little about what its log does not hold."""
    log = list(write_log(3_000, **OPTIONS))
    assert {sent.kind for sent in log} == set(Kind)
    originals = Counter(sent.trace_id for sent in log if sent.cell is not None and sent.kind is not Kind.DUPLICATE)
    assert len(originals) == 3_000
    assert set(originals.values()) == {1}
    assert sum(count_sent(log, 4).values()) == 3_000


def test_misplaced_records_are_really_misplaced():
    """In another partition than their trace id's, or under another key."""
    for sent in write_log(3_000, **OPTIONS):
        home = partition_of(sent.trace_id.encode(), 4)
        if sent.kind is Kind.MISPLACED:
            assert sent.partition != home or sent.key != sent.trace_id.encode()


def test_difference_names_the_place():
    """One number in a state of a million must be found, and named."""
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) is None
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == "/a/1/b: 3 instead of 2"
    assert difference([1], [1, 2]) == " has 2 entries instead of 1"
    assert difference({"a": 1}, {"a": True}) is not None


def _stood(partition, offset, value, *, key=b"k", **headers):
    return Stood(partition, offset, 0, key, value, tuple((name.replace("_", "-"), str(text).encode()) for name, text in headers.items()))


def test_dead_letters_are_compared_by_coordinates_reason_and_bytes():
    """A letter too many, one too few, another reason, other bytes: each is seen; a copy of a letter is none of these."""
    log = {0: [_stood(0, 0, b"bad"), _stood(0, 1, b"good")]}
    letter = _stood(0, 9, b"bad", eddy_partition=0, eddy_offset=0, eddy_reason="not_json")
    refused = [(0, 0, "not_json")]
    assert compare_dead_letters(refused, log, [letter, letter]) == []
    assert len(compare_dead_letters(refused, log, [])) == 1
    assert len(compare_dead_letters([(0, 0, "other")], log, [letter])) == 1
    assert len(compare_dead_letters(refused, log, [letter._replace(value=b"changed")])) == 1
    assert len(compare_dead_letters(refused, log, [letter, _stood(0, 9, b"good", eddy_partition=0, eddy_offset=1, eddy_reason="not_json")])) == 1


def test_forwards_are_compared_by_origin_key_and_bytes():
    """A misplaced record that was never forwarded would be a silent drop."""
    log = {0: [_stood(0, 3, b"v", key=None)], 1: [_stood(1, 7, b"v", key=b"t", eddy_forwarded="0/3")]}
    assert compare_forwards([(0, 3, b"t", 1)], log) == []
    assert len(compare_forwards([(0, 4, b"t", 1)], log)) == 1
    assert len(compare_forwards([(0, 3, b"other", 1)], log)) == 1


def test_what_was_acknowledged_must_stand_and_garbage_must_be_refused():
    """A log that lost records would agree with its own fold."""
    trace, garbage = Sent(Kind.TRACE, "t", b"t", b"v"), Sent(Kind.GARBAGE, "g", b"g", b"42")
    log = {0: [_stood(0, 0, b"v", key=b"t"), _stood(0, 1, b"42", key=b"g")]}
    assert compare_published([trace, garbage], log, [(0, 1, "not_object")]) == []
    assert len(compare_published([trace, garbage], log, [])) == 1
    assert len(compare_published([trace, Sent(Kind.TRACE, "u", b"u", b"w")], log, [])) == 1


def test_a_loss_and_a_double_count_do_not_cancel():
    """One lost in one class and one counted twice in another make the same sum."""
    row = (60, 0, 0, 1, *[0] * 20)
    arms = (ArmStatistics(arm=Arm(model="m", agent="a"), buckets=(row, row)),)
    learned = count_learned([PartitionStatistics(fold="f", partition=0, offset=1, log_time_ms=0, query_class="c", arms=arms)])
    assert lost_and_double(Counter({(0, "c", "m", "a"): 1, (0, "d", "m", "a"): 1}), learned) == (1, 1)


def test_a_fresh_reader_ends_with_the_last_record_of_each_key_that_was_not_withdrawn():
    """What a compacted topic means."""
    records = [_stood(0, 0, b"1", key=b"a"), _stood(0, 1, b"2", key=b"b"), _stood(0, 2, b"3", key=b"a"), _stood(0, 3, None, key=b"b")]
    assert {key: record.value for key, record in newest(records).items()} == {b"a": b"3"}
