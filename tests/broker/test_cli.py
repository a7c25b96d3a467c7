"""The command line on a broker: what it publishes, reads, overrides and sends again."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.cli import main
from stream.cli.sending import Message, send_all
from stream.fold.totals import SUMS, Sum
from stream.provision import provision
from stream.records import Arm, ArmStatistics, Override, PartitionStatistics
from stream.settings import Settings
from stream.topic_reader import read_compacted, reading
from stream.topics import DEAD_LETTERS, OVERRIDES, STATISTICS, TRACES
from tests.conftest import Broker


@pytest.fixture
def settings(fresh_broker: Broker, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """A provisioned broker, found by the commands through the environment."""
    made = make_settings(fresh_broker.bootstrap)
    asyncio.run(provision(made))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDDY_BOOTSTRAP", made.bootstrap)
    monkeypatch.setenv("EDDY_PARTITIONS", str(made.partitions))
    return made


@pytest.fixture
def eddy(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any, str]]:
    """Run a command: its status, its JSON where it printed some, and what it said on stderr."""

    def run(*arguments: str) -> tuple[int, Any, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(list(arguments))
        said = capsys.readouterr()
        return int(exit_.value.code or 0), json.loads(said.out) if "--json" in arguments and said.out else said.out, said.err

    return run


def read(settings: Settings, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    async def all_of_it() -> list[tuple[bytes | None, bytes | None]]:
        async with reading(settings, topic) as reader:
            return [(record.key, record.value) async for record in reader.to_end()]

    return asyncio.run(all_of_it())


def send(settings: Settings, *messages: Message) -> None:
    asyncio.run(send_all(settings, messages))


def trace(number: int) -> bytes:
    return json.dumps({"trace_id": f"t{number}", "query": "q", "model": "m", "extra": [number]}).encode()


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_publish_sends_every_good_line_untouched_and_names_the_bad_ones(
    settings: Settings, eddy: Callable[..., tuple[int, Any, str]], tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    """Three good lines, a line that is not JSON (2), one without trace id (4), an empty one that is no record: keys and bytes as in the file."""
    path = tmp_path / "traces.jsonl"
    path.write_bytes(compress(b"\n".join([trace(1), b"{not json", trace(2), b'{"query": "q"}', b"", trace(3)]) + b"\n"))

    status, summary, _ = eddy("publish", str(path), "--json")

    assert status == 0
    assert (summary["published"], summary["skipped"], summary["refused"]) == (3, 2, 0)
    assert [(bad["line"], bad["reason"]) for bad in summary["bad_lines"]] == [(2, "not_json"), (4, "missing_field")]
    assert sorted(read(settings, TRACES.name), key=str) == [(f"t{number}".encode(), trace(number)) for number in (1, 2, 3)]


def test_publish_hides_the_text_that_the_client_would_hide(settings: Settings, eddy: Callable[..., tuple[int, Any, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that must not reach the log must not reach it from the command line either."""
    monkeypatch.setenv("EDDY_QUERY_TEXT", "none")
    (tmp_path / "traces.jsonl").write_bytes(b'{"trace_id": "t1", "query": "SECRET", "result": "SECRET", "model": "m"}\n')

    eddy("publish", "traces.jsonl")
    eddy("publish", "--example")
    eddy("feedback", "t1", "0.5", "--comment", "SECRET")

    values = [value or b"" for _, value in read(settings, TRACES.name)]
    assert len(values) == 3
    assert [value for value in values if b"SECRET" in value or b"reverse" in value] == []


def test_publish_says_how_far_a_broken_file_went(eddy: Callable[..., tuple[int, Any, str]], tmp_path: Path) -> None:
    """A download that stopped in the middle: what could be read is on the log, and whoever gets the rest must know so."""
    whole = gzip.compress(b"\n".join(trace(number) for number in range(20_000)))
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])

    status, summary, _ = eddy("publish", "cut.gz", "--json")
    _, printed, said = eddy("publish", "cut.gz")

    assert status == 1
    assert 0 < summary["published"] < 20_000
    assert f"cannot be read beyond line {summary['published']:,}" in summary["broken"]
    assert f"published {summary['published']:,} records" in printed
    assert summary["broken"] in said


def test_publish_fails_when_nothing_could_be_published_or_strictly(eddy: Callable[..., tuple[int, Any, str]], tmp_path: Path) -> None:
    """A script must notice that a whole file was wrong; with --strict, that a line was."""
    (tmp_path / "bad.jsonl").write_bytes(b"nothing here\n")
    (tmp_path / "half.jsonl").write_bytes(trace(1) + b"\nnothing here\n")

    statuses = [eddy("publish", *arguments)[0] for arguments in (("bad.jsonl",), ("half.jsonl",), ("half.jsonl", "--strict"))]

    assert statuses == [1, 0, 1]


def test_publish_keeps_to_its_rate(eddy: Callable[..., tuple[int, Any, str]], tmp_path: Path) -> None:
    """Thirty records at sixty a second take half a second; the first goes at once."""
    (tmp_path / "traces.jsonl").write_bytes(b"\n".join(trace(number) for number in range(30)))

    _, summary, _ = eddy("publish", "traces.jsonl", "--rate", "60", "--json")

    assert summary["published"] == 30
    assert 0.4 <= summary["took_s"] < 3.0


def test_feedback_and_forget_are_keyed_by_their_trace(settings: Settings, eddy: Callable[..., tuple[int, Any, str]]) -> None:
    """Order between a trace and what is said of it is given only inside one partition, so the key must be the trace's."""
    eddy("feedback", "t9", "0.25", "--rater", "ana", "--comment", "meh")
    eddy("forget", "t9")

    records = read(settings, TRACES.name)
    assert [key for key, _ in records] == [b"t9", b"t9"]
    rating, forget = (json.loads(value or b"") for _, value in records)
    assert (rating["type"], rating["score"], rating["rater"], rating["rater_kind"], rating["comment"]) == ("feedback", 0.25, "ana", "human", "meh")
    assert forget["type"] == "forget"


def test_overrides_stand_until_they_are_lifted(settings: Settings, eddy: Callable[..., tuple[int, Any, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every override is one key of the compacted topic; lifting it is a tombstone under the same key."""
    monkeypatch.setenv("EDDY_DEFAULT_ARM", "gpt-4")
    eddy("pin", "code", "gpt-4|react", "--reason", "incident", "--force")
    eddy("withdraw", "small")
    eddy("freeze", "*")
    eddy("rollout", "observe")
    shown = eddy("routes")[1]
    standing = asyncio.run(read_compacted(settings, OVERRIDES.name))

    eddy("unpin", "code")
    eddy("restore", "small")
    eddy("unfreeze", "*")
    eddy("rollout", "1")
    shown_later = eddy("routes")[1]
    left = asyncio.run(read_compacted(settings, OVERRIDES.name))

    assert ("only observes" in shown, "only observes" in shown_later) == (True, False)
    assert set(standing) == {b"pin/code", b"withdraw/small", b"freeze/*", b"rollout/*"}
    pin = msgspec.json.decode(standing[b"pin/code"], type=Override)
    assert (pin.arm, pin.reason, pin.query_class) == (Arm(model="gpt-4", agent="react"), "incident", "code")
    assert left == {}


def test_names_that_no_trace_has_are_doubted_and_stand(settings: Settings, eddy: Callable[..., tuple[int, Any, str]]) -> None:
    """A mistyped arm would serve a whole class: the operator reads so at once; what was counted, by the fields routed over, raises no doubt."""
    row = [60, 0, 0] + [0] * SUMS
    row[3 + Sum.COUNT] = 1
    arms = (ArmStatistics(arm=Arm(model="gpt-4", agent="react"), buckets=(tuple(row),)),)
    total = PartitionStatistics(fold="f", partition=0, offset=0, log_time_ms=0, query_class="code", arms=arms)
    send(settings, (STATISTICS.name, b"f/0/code", msgspec.json.encode(total)))

    said = {words: eddy(*words) for words in (("pin", "code", "gpt-4"), ("withdraw", "gpt-4|other"), ("withdraw", "gtp-4"), ("freeze", "coed"), ("freeze", "*"))}

    assert {words: err.count("has been counted so far") for words, (_, _, err) in said.items()} == dict(zip(said, (0, 0, 1, 1, 0), strict=True))
    assert {status for status, _, _ in said.values()} == {0}
    assert asyncio.run(read_compacted(settings, OVERRIDES.name)).keys() == {b"pin/code", b"withdraw/gpt-4|other", b"withdraw/gtp-4", b"freeze/coed", b"freeze/*"}


@pytest.mark.parametrize("words", [("code", "gtp-4"), ("coed", "gpt-4")])
def test_pin_of_a_name_that_no_trace_has_is_refused_unless_forced(settings: Settings, eddy: Callable[..., tuple[int, Any, str]], words: tuple[str, str]) -> None:
    """A pin lets one arm serve everything: by a typing error every request of the class would fail, or the pin would do nothing."""
    row = [60, 0, 0] + [0] * SUMS
    row[3 + Sum.COUNT] = 1
    total = PartitionStatistics(fold="f", partition=0, offset=0, log_time_ms=0, query_class="code", arms=(ArmStatistics(arm=Arm(model="gpt-4"), buckets=(tuple(row),)),))
    send(settings, (STATISTICS.name, b"f/0/code", msgspec.json.encode(total)))

    refused, _, said = eddy("pin", *words)
    before = asyncio.run(read_compacted(settings, OVERRIDES.name))
    forced, _, _ = eddy("pin", *words, "--force")

    assert (refused, before, forced) == (1, {}, 0)
    assert "--force" in said
    assert asyncio.run(read_compacted(settings, OVERRIDES.name)).keys() == {f"pin/{words[0]}".encode()}


def test_routes_add_up_source_partitions_and_read_to_the_true_end(settings: Settings, eddy: Callable[..., tuple[int, Any, str]]) -> None:
    """Each class is the sum over its partitions' newest totals: 10 + 32 in `a`; records sent one by one stand in batches of their own, the last included."""
    for partition, offset, count in ((0, 4, 7), (1, 9, 32), (0, 12, 10)):
        row = [60, 0, 0] + [0] * SUMS
        row[3 + Sum.COUNT] = count
        arms = (ArmStatistics(arm=Arm(model="m", agent="x"), buckets=(tuple(row),)),)
        total = PartitionStatistics(fold="f", partition=partition, offset=offset, log_time_ms=0, query_class="a", arms=arms)
        send(settings, (STATISTICS.name, f"f/{partition}/a".encode(), msgspec.json.encode(total)))

    status, report, _ = eddy("routes", "--json")

    assert status == 0
    assert report["traces"] == 42
    assert report["classes"]["a"]["count"] == 42
    assert report["classes"]["a"]["arms"] == {"m": {"count": 42}}


@pytest.mark.parametrize(("options", "sign"), [((), b"a: 5 traces"), (("--json",), b'"traces": 5')])
def test_watched_routes_reach_a_pipe_when_they_change(settings: Settings, options: tuple[str, ...], sign: bytes) -> None:
    """`eddy routes --watch --json | jq` must show a change as it comes, not when some kilobytes of changes have come together."""
    row = [60, 0, 0] + [0] * SUMS
    row[3 + Sum.COUNT] = 5
    total = PartitionStatistics(fold="f", partition=0, offset=0, log_time_ms=0, query_class="a", arms=(ArmStatistics(arm=Arm(model="m"), buckets=(tuple(row),)),))

    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "stream", "routes", "--watch", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=buffered, cwd=Path(__file__).parents[2]) as watching:
        assert watching.stdout is not None
        end = threading.Timer(30, watching.kill)
        end.start()
        send(settings, (STATISTICS.name, b"f/0/a", msgspec.json.encode(total)))
        seen = any(sign in line for line in iter(watching.stdout.readline, b""))
        end.cancel()
        watching.kill()

    assert seen


def dead_letter(offset: int, reason: str, value: bytes, **more: str) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    headers = {"eddy-topic": TRACES.name, "eddy-partition": "1", "eddy-offset": str(offset), "eddy-epoch": "0", "eddy-timestamp": "5", "eddy-reason": reason, "eddy-detail": "why"}
    return b"k", value, [(name.replace("_", "-"), said.encode()) for name, said in (headers | more).items()]


def send_dead_letters(settings: Settings, *letters: tuple[bytes, bytes, list[tuple[str, bytes]]]) -> None:
    async def send_them() -> None:
        from stream.cli.sending import producing

        async with producing(settings, DEAD_LETTERS.name) as producer:
            for key, value, headers in letters:
                await producer.send_and_wait(DEAD_LETTERS.name, value, key=key, headers=headers)

    asyncio.run(send_them())


def test_dead_letters_are_listed_shown_and_sent_again_once(settings: Settings, eddy: Callable[..., tuple[int, Any, str]]) -> None:
    """Two copies of one source record, as a crash leaves them, are one letter; a cut one cannot be sent again."""
    send_dead_letters(settings, dead_letter(3, "not_json", b"\xff{"), dead_letter(3, "not_json", b"\xff{"), dead_letter(8, "too_large", b"xx", eddy_cut="5000000"))

    _, listed, _ = eddy("dead-letters", "list", "--json")
    newest = next(letter for letter in listed["letters"] if letter["reason"] == "not_json")
    _, shown, _ = eddy("dead-letters", "show", newest["id"], "--json")
    _, replayed, _ = eddy("dead-letters", "replay", "--all", "--json")

    assert listed["total"] == 2
    assert {(letter["reason"], letter["source"], letter["size_bytes"]) for letter in listed["letters"]} == {
        ("not_json", "eddy.traces 1/3", 2),
        ("too_large", "eddy.traces 1/8", 5_000_000),
    }
    assert shown["value_base64"] == "/3s="
    assert replayed == {"replayed": 1, "cut": 1}
    assert read(settings, TRACES.name) == [(b"k", b"\xff{")]


def test_doctor_finds_a_provisioned_broker_well(eddy: Callable[..., tuple[int, Any, str]]) -> None:
    """Nothing is missing right after the topics were created."""
    status, report, _ = eddy("doctor", "--json")

    assert [check for check in report["checks"] if check["state"] == "error"] == []
    assert status == 0
    assert {"broker", "topics", "clock", "fold"} <= {check["name"] for check in report["checks"]}
