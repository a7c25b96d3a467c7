"""What is told of cycles, as people and machines are shown it."""

from __future__ import annotations

import msgspec

from stream.cli.cycle_lines import lines_of, row_of
from stream.cli.cycles import new_id
from stream.cycles.history import MOST_CYCLES, History
from stream.records import CycleFinished, CycleRequested, CycleStep

HELD = {"name": "config/react", "standing": "held", "why": "held for a person's word"}
PROMOTED = {"name": "config/react", "standing": "promoted", "version": 2}
RECORDS = (
    CycleRequested(cycle_id="c1", trigger="new_traces", requested_at=1.0, agent="react", evidence={"traces": 900}),
    CycleStep(cycle_id="c1", step="mined", number=1, at=2.0, detail={"said": "900 new traces"}),
    CycleStep(cycle_id="c1", step="settled", number=8, at=3.0, detail={"said": "1 held", "candidates": [HELD]}),
    CycleFinished(cycle_id="c1", status="staged", at=4.0, detail={"said": "1 held"}),
    CycleStep(cycle_id="c1", step="promoted", at=5.0, detail={"said": "config/react: version 2 is live", "candidates": [PROMOTED]}),
)


def taken(*records: msgspec.Struct) -> History:
    history = History()
    for record in records:
        history.take(msgspec.json.encode(record))
    return history


def test_records_that_stand_twice_are_told_once() -> None:
    """The learner announces at least once: a crash between the broker's word and the ledger's leaves a second copy."""
    once, twice = taken(*RECORDS), taken(*(record for record in RECORDS for _ in range(2)))

    assert once.newest(9)[0].report() == twice.newest(9)[0].report()
    assert [step["step"] for step in twice.newest(9)[0].steps] == ["mined", "settled", "promoted"]


def test_candidate_stands_as_was_told_last() -> None:
    """It was held when the cycle ended, and promoted by a person's word later; what was said of it before is kept."""
    told = taken(*RECORDS).newest(1)[0]

    assert told.candidates == {"config/react": {**HELD, **PROMOTED}}
    assert (told.state, told.status) == ("staged", "staged")


def test_cycle_is_written_out_step_by_step() -> None:
    """Why, each step with its number, each candidate with its standing and why, the end."""
    text = "\n".join(lines_of(taken(*RECORDS).newest(1)[0]))

    assert '{"traces": 900}' in text
    assert "1/8  mined       900 new traces" in text
    assert "8/8  settled     1 held" in text
    assert "candidate config/react: promoted" in text
    assert "held for a person's word" in text
    assert "as staged: 1 held" in text


def test_hostile_text_stays_text() -> None:
    """Whoever writes to the topic must not write to the terminal."""
    record = CycleStep(cycle_id="c\x1b[2J", step="mi\x07ned", number=1, at=2.0, detail={"said": 7, "candidates": [{"name": 3}, {"name": "x\x1b]0;", "why": ["\x1b"]}, 4]})
    told = taken(record).newest(1)[0]

    assert all(character.isprintable() for line in lines_of(told) for character in line)
    assert len(row_of(told)) == 7


def test_cycle_is_found_by_how_its_id_begins() -> None:
    """Where exactly one does."""
    history = taken(*(CycleRequested(cycle_id=name, trigger="t", requested_at=1.0) for name in ("ab1", "ab2", "c")))

    assert history.cycle("c").cycle_id == "c"
    assert history.cycle("ab1").cycle_id == "ab1"
    assert [history.cycle(name) for name in ("ab", "", "x")] == [None, None, None]


def test_oldest_cycles_are_forgotten() -> None:
    """The page's process lives for months."""
    history = taken(*(CycleRequested(cycle_id=f"c{number}", trigger="t", requested_at=1.0) for number in range(MOST_CYCLES + 3)))

    assert len(history) == MOST_CYCLES
    assert history.cycle("c2") is None
    assert history.newest(1)[0].cycle_id == f"c{MOST_CYCLES + 2}"


def test_cycles_that_a_person_asks_for_have_ids_of_their_own() -> None:
    """By the moment: 2026-12-01 10:15:00 UTC is 1796120100."""
    assert new_id(1796120100.25) == "manual-20261201-101500-250000"
