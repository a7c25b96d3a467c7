"""`eddy dead-letters`: what could not be read, why, and how to send it again."""

from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.common import JsonOption, load_settings, note, plain, print_json, print_table, run
from stream.errors import EddyError
from stream.topics import DEAD_LETTERS, TRACES

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from stream.settings import Settings

dead_letters = typer.Typer(help="Records that could not be read: list, show, send again.", no_args_is_help=True)

ReasonOption = Annotated[str | None, typer.Option("--reason", help="Only those with this reason.")]
LetterArgument = Annotated[str, typer.Argument(metavar="LETTER", help="PARTITION/OFFSET of the dead letter, as `list` names it.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(dead_letters, name="dead-letters")


@dead_letters.command("list")
def list_letters(reason: ReasonOption = None, most: Annotated[int, typer.Option("--most", min=1, help="The newest so many.")] = 50, as_json: JsonOption = False) -> None:
    """List the newest dead letters.

    Two copies of one source record are named once.
    """
    letters = [letter for letter in run(read_letters(load_settings())) if reason in (None, letter["reason"])]
    if as_json:
        print_json({"total": len(letters), "letters": letters[-most:]})
        return
    rows = [(f"{letter['id']}", letter["reason"], letter["source"], f"{letter['size_bytes']:,}", letter["detail"]) for letter in letters[-most:]]
    print_table(("letter", "reason", "from", "bytes", "detail"), rows, prose="detail")
    reasons = Counter(letter["reason"] for letter in letters)
    note(f"{len(letters):,} dead letters" + "".join(f", {name}: {number:,}" for name, number in reasons.most_common()))


@dead_letters.command()
def show(letter: LetterArgument, as_json: JsonOption = False) -> None:
    """Show one dead letter: its headers and its bytes."""
    found = _find(load_settings(), letter)
    described = describe(found)
    value = found.value or b""
    if as_json:
        print_json(described | {"key_base64": base64.b64encode(found.key or b"").decode(), "value_base64": base64.b64encode(value).decode()})
        return
    for name, said in described.items():
        print(f"{name}: {plain(str(said), most=500)}")
    print(f"key: {plain((found.key or b'').decode(errors='backslashreplace'), most=1000)}")
    print(f"value: {plain(value.decode(errors='backslashreplace'), most=20_000)}")


@dead_letters.command()
def replay(
    letter: Annotated[str | None, typer.Argument(metavar="LETTER", help="PARTITION/OFFSET of the dead letter.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send dead letters into the log again.

    Their bytes are untouched: what a newer worker can read is counted, the rest comes back.
    """
    settings = load_settings()
    if (letter is None) == (not every and reason is None):
        raise EddyError(
            "replay got neither a letter nor --all nor --reason, or several of them, but it sends one letter or all that fit; give PARTITION/OFFSET, --reason REASON or --all"
        )
    chosen = [_find(settings, letter)] if letter is not None else [record for record in run(_read(settings)) if reason in (None, describe(record)["reason"])]
    whole = [record for record in _newest_copies(chosen) if "eddy-cut" not in dict(record.headers)]
    run(_send_again(settings, whole))
    report = {"replayed": len(whole), "cut": len(_newest_copies(chosen)) - len(whole)}
    if as_json:
        print_json(report)
    else:
        note(f"sent {report['replayed']:,} records again; {report['cut']:,} were cut for their size and cannot be")


async def read_letters(settings: Settings) -> list[dict[str, Any]]:
    """Read what every dead letter says of itself, oldest first, two copies of one source record once."""
    return [describe(record) for record in _newest_copies(await _read(settings))]


def describe(record: ConsumerRecord[bytes | None, bytes | None]) -> dict[str, Any]:
    """Put a dead letter's headers into words."""
    headers = {name: value.decode(errors="backslashreplace") for name, value in record.headers}
    return {
        "id": f"{record.partition}/{record.offset}",
        "reason": headers.get("eddy-reason", "unknown"),
        "detail": headers.get("eddy-detail", ""),
        "source": f"{headers.get('eddy-topic', '?')} {headers.get('eddy-partition', '?')}/{headers.get('eddy-offset', '?')}",
        "epoch": headers.get("eddy-epoch", "0"),
        "timestamp_ms": headers.get("eddy-timestamp", ""),
        "size_bytes": int(cut) if (cut := headers.get("eddy-cut", "")).isdigit() else len(record.value or b""),
        "cut": "eddy-cut" in headers,
    }


async def _read(settings: Settings) -> list[ConsumerRecord[bytes | None, bytes | None]]:
    from stream.topic_reader import reading

    async with reading(settings, DEAD_LETTERS.name) as reader:
        records = [record async for record in reader.to_end()]
    return sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))


def _newest_copies(records: list[ConsumerRecord[bytes | None, bytes | None]]) -> list[ConsumerRecord[bytes | None, bytes | None]]:
    return list({(describe(record)["source"], describe(record)["epoch"]): record for record in records}.values())


def _find(settings: Settings, letter: str) -> ConsumerRecord[bytes | None, bytes | None]:
    for record in run(_read(settings)):
        if f"{record.partition}/{record.offset}" == letter:
            return record
    raise EddyError(f"there is no dead letter {letter!r}, but a letter is named PARTITION/OFFSET; `eddy dead-letters list` names them")


async def _send_again(settings: Settings, records: list[ConsumerRecord[bytes | None, bytes | None]]) -> None:
    from stream.cli.sending import send_all

    if records:
        await send_all(settings, [(TRACES.name, record.key, record.value) for record in records])
