"""The ledger of learning cycles: what was asked for, which steps are done, what became of every candidate, and what is still to be announced.

One SQLite file in the learner's data folder, and the truth about cycles; `eddy.cycles` only announces it. Every change is one transaction that
also writes down what is to be told of it, so that after a crash both are there or neither. The learner adds requests and words and takes away what it
has announced; only a process that holds the `stream.cycles.lock` moves cycles and candidates on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from stream.cycles import trials
from stream.cycles.entries import Candidate, Cycle, Message
from stream.cycles.states import Standing, State, is_transition_valid
from stream.cycles.tables import open_ledger, scalar, transaction
from stream.errors import CycleTransitionError
from stream.records import CycleFinished, CycleOrder, CycleRequested, CycleStep
from stream.topics import CYCLES

Mark = str | Callable[[str], str]
"""What is to stand under a name, or what makes it of what stands there, in the transaction that writes it; nothing stands there as an empty text."""
LIFETIME = "lifetime"
"""Mark under which the gate's error over all cycles is kept."""
_CYCLES = 'SELECT cycle_id, "trigger", agent, requested_at, evidence, state, attempts, is_cancelled, elsewhere FROM cycles'


class Ledger:
    """The ledger, open in this process.

    Args:
        path: the file; made where there is none, its folder too.
        clock: epoch seconds.

    Raises:
        LedgerFormatError: the file is something else, or of another version.

    Attributes:
        learner: the name under which this ledger's steps are announced.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._database = open_ledger(path)
        self.learner = self.mark("learner", "")

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- what is read

    def cycle(self, cycle_id: str) -> Cycle:
        """Find a cycle.

        Raises:
            KeyError: there is none.
        """
        if (row := self._database.execute(f"{_CYCLES} WHERE cycle_id = ?", (cycle_id,)).fetchone()) is None:
            raise KeyError(cycle_id)
        return _cycle_of(row)

    def cycles(self) -> list[Cycle]:
        """List all cycles in the order in which they were asked for."""
        return [_cycle_of(row) for row in self._database.execute(f"{_CYCLES} ORDER BY number")]

    def candidates(self, cycle_id: str) -> list[Candidate]:
        """List the candidates of a cycle in the order in which they were staged."""
        return self._candidates("cycle_id = ?", (cycle_id,))

    def candidate(self, number: int) -> Candidate:
        """Find a candidate as it stands now."""
        return self._candidates("id = ?", (number,))[0]

    def standing(self, *standings: Standing) -> list[Candidate]:
        """List the candidates of all cycles that stand so, the oldest first."""
        return self._candidates(f"standing IN ({', '.join('?' * len(standings))})", standings)

    def runnable(self) -> Cycle | None:
        """Return the oldest cycle that a process can go on with; one that waits is one when its job has ended, its time is over or it is cancelled."""
        ends = ", ".join(f"'{state}'" for state in State if state.is_end)
        waits = "state <> 'waiting' OR is_cancelled OR EXISTS (SELECT 1 FROM jobs WHERE jobs.cycle_id = cycles.cycle_id AND (result IS NOT NULL OR deadline_at <= ?))"
        row = self._database.execute(f"{_CYCLES} WHERE state NOT IN ({ends}) AND ({waits}) ORDER BY number LIMIT 1", (self._clock(),)).fetchone()
        return None if row is None else _cycle_of(row)

    def has_words(self) -> bool:
        """Whether promotions are to be finished, or persons' words on candidates to be carried out."""
        return bool(scalar(self._database, "SELECT count(*) FROM candidates WHERE standing = 'promoting' OR (standing IN ('held', 'canary') AND word <> '')"))

    def kept(self, cycle_id: str, state: State) -> Any:
        """Return what a step kept for later ones; None where it has not been done."""
        row = self._database.execute("SELECT kept FROM steps WHERE cycle_id = ? AND state = ?", (cycle_id, state)).fetchone()
        return None if row is None or row[0] is None else json.loads(row[0])

    def detail(self, cycle_id: str, state: State) -> dict[str, Any]:
        """Return what a step said of itself; nothing where it has not been done."""
        row = self._database.execute("SELECT detail FROM steps WHERE cycle_id = ? AND state = ?", (cycle_id, state)).fetchone()
        return {} if row is None else dict(json.loads(row[0]))

    def job(self, cycle_id: str) -> dict[str, Any] | None:
        """Return how a cycle's training job ended; None while it has not."""
        row = self._database.execute("SELECT result FROM jobs WHERE cycle_id = ? ORDER BY job_id DESC LIMIT 1", (cycle_id,)).fetchone()
        return None if row is None or row[0] is None else dict(json.loads(row[0]))

    def has_time(self, cycle_id: str) -> bool:
        """Whether a cycle's training job may still end in time."""
        return bool(self._database.execute("SELECT count(*) FROM jobs WHERE cycle_id = ? AND deadline_at > ?", (cycle_id, self._clock())).fetchone()[0])

    def mark(self, name: str, default: str) -> str:
        """Return what stands under a name."""
        row = self._database.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        return default if row is None else str(row[0])

    def cursors(self) -> dict[str, str]:
        """Return the marks that say up to where the archive was mined and trained on, and what was carried on."""
        return dict(self._database.execute("SELECT name, value FROM marks WHERE name LIKE 'mined/%' OR name LIKE 'carried/%' OR name LIKE 'trained/%'"))

    # ---- requests and persons' words, taken as often as they are read

    def request(self, asked: CycleRequested) -> bool:
        """Take a request; returns whether it is a new one."""
        row = (asked.cycle_id, asked.trigger, asked.agent, asked.requested_at, _dump(asked.evidence), State.REQUESTED)
        with transaction(self._database):
            insert = 'INSERT OR IGNORE INTO cycles (cycle_id, "trigger", agent, requested_at, evidence, state) VALUES (?, ?, ?, ?, ?, ?)'
            return self._database.execute(insert, row).rowcount > 0

    def order(self, said: CycleOrder) -> bool:
        """Take a person's word; returns whether it is a new one. One on what has ended, or is not held, changes nothing."""
        with transaction(self._database):
            word = (said.cycle_id, said.order, said.candidate, said.given_at)
            if not self._database.execute("INSERT OR IGNORE INTO words VALUES (?, ?, ?, ?)", word).rowcount:
                return False
            if said.order == "cancel":
                self._database.execute("UPDATE cycles SET is_cancelled = 1 WHERE cycle_id = ?", (said.cycle_id,))
            else:
                update = "UPDATE candidates SET word = ? WHERE cycle_id = ? AND standing IN ('held', 'canary') AND (? = '' OR name = ?)"
                self._database.execute(update, (said.order, said.cycle_id, said.candidate, said.candidate))
            return True

    def seen_elsewhere(self, cycle_id: str, learner: str) -> None:
        """Note that another learner has done a step of a cycle."""
        with transaction(self._database):
            self._database.execute("UPDATE cycles SET elsewhere = ? WHERE cycle_id = ?", (learner, cycle_id))

    def ended_elsewhere(self, cycle_id: str) -> None:
        """Note that another learner has ended a cycle: where it is not begun here, it is over."""
        with transaction(self._database):
            self._database.execute("UPDATE cycles SET state = ? WHERE cycle_id = ? AND state = ?", (State.ABORTED, cycle_id, State.REQUESTED))

    def ended_job(self, job_id: str, result: dict[str, Any]) -> None:
        """Note how a training job ended; of one job's several ends the first counts."""
        with transaction(self._database):
            self._database.execute("UPDATE jobs SET result = ? WHERE job_id = ? AND result IS NULL", (_dump(result), job_id))

    # ---- what moves cycles and candidates on

    def begin_attempt(self, cycle_id: str) -> int:
        """Count a process that is about to go on with a cycle; returns how many there were since its last step, this one included."""
        with transaction(self._database):
            self._database.execute("UPDATE cycles SET attempts = attempts + 1 WHERE cycle_id = ?", (cycle_id,))
        return self.cycle(cycle_id).attempts

    def advance(self, cycle_id: str, target: State, detail: dict[str, Any], *, kept: Any = None, marks: Mapping[str, Mark] | None = None) -> None:
        """Note a step, or an end, with what is to be told of it, in one transaction.

        Args:
            cycle_id: of the cycle.
            target: what is done now.
            detail: what is told of it.
            kept: what later steps need of it.
            marks: set in the same transaction.

        Raises:
            CycleTransitionError: it does not follow what is done.
        """
        with transaction(self._database):
            source = self.cycle(cycle_id).state
            if not is_transition_valid(source, target):
                raise CycleTransitionError(f"cycle {cycle_id} is {source} and was to become {target}, but that does not follow; look at `eddy cycles show {cycle_id}`")
            now = self._clock()
            self._database.execute("UPDATE cycles SET state = ?, attempts = 0 WHERE cycle_id = ?", (target, cycle_id))
            row = (cycle_id, target, now, _dump(detail), None if kept is None else _dump(kept))
            self._database.execute("INSERT INTO steps VALUES (?, ?, ?, ?, ?)", row)
            for name, value in (marks or {}).items():
                self._put_mark(name, value)
            self._announce(_record_of(cycle_id, target, now, detail, self.learner))
            if target.is_end:
                self._database.execute("UPDATE steps SET kept = NULL WHERE cycle_id = ?", (cycle_id,))

    def stage(self, cycle_id: str, name: str, detail: dict[str, Any]) -> None:
        """Note a candidate, `KIND/SUBJECT`; one that is there already stays as it is."""
        row = (cycle_id, name, name.partition("/")[0], Standing.STAGED, _dump(detail))
        with transaction(self._database):
            if self._database.execute("INSERT OR IGNORE INTO candidates (cycle_id, name, kind, standing, detail) VALUES (?, ?, ?, ?, ?)", row).rowcount:
                for message in trials.messages(row[2], name.partition("/")[2], detail, None, Standing.STAGED, self._clock()):
                    self._send(message.topic, message.key, message.value)

    def move(
        self, candidate: Candidate, target: Standing, detail: dict[str, Any] | None = None, *, marks: Mapping[str, Mark] | None = None, send: Message | None = None, word: str = ""
    ) -> None:
        """Note what has become of a candidate, in one transaction.

        Args:
            candidate: as it stands.
            target: what it is now.
            detail: added to what is known of it.
            marks: set in the same transaction.
            send: what is to be sent of it; once that is acknowledged the candidate is announced.
            word: what is to be done with it next, as if a person had said so.

        Raises:
            CycleTransitionError: it does not follow where the candidate stands.
        """
        with transaction(self._database):
            now = self.candidate(candidate.id)
            if not is_transition_valid(now.standing, target):
                raise CycleTransitionError(f"candidate {now.name} of {now.cycle_id} is {now.standing} and was to become {target}, but that does not follow; look at `eddy cycles`")
            row = (target, _dump(now.detail | (detail or {})), word, now.id)
            self._database.execute("UPDATE candidates SET standing = ?, detail = ?, word = ? WHERE id = ?", row)
            for name, value in (marks or {}).items():
                self._put_mark(name, value)
            for message in trials.messages(now.kind, now.subject, now.detail | (detail or {}), now.standing, target, self._clock()):
                self._send(message.topic, message.key, message.value)
            if send is not None:
                self._send(send.topic, send.key, send.value, candidate=now.id)

    def await_job(self, cycle_id: str, job_id: str, deadline_at: float, send: Message) -> None:
        """Note a training job that a cycle will wait for, and that it is to be sent; one that is noted already stays as it is."""
        with transaction(self._database):
            if self._database.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?, ?, NULL)", (job_id, cycle_id, deadline_at)).rowcount:
                self._send(send.topic, send.key, send.value)

    def tell(self, cycle_id: str, what: str, detail: dict[str, Any]) -> None:
        """Tell something of a cycle that is none of its states."""
        with transaction(self._database):
            self._announce(CycleStep(cycle_id=cycle_id, step=what, at=self._clock(), detail=detail, learner=self.learner))

    def put_marks(self, marks: Mapping[str, Mark]) -> None:
        """Set marks."""
        with transaction(self._database):
            for name, value in marks.items():
                self._put_mark(name, value)

    # ---- what is announced

    def unsent(self, most: int = 100) -> list[Message]:
        """Return the oldest messages that are to be sent."""
        return [Message(*row) for row in self._database.execute("SELECT id, topic, key, value FROM outbox ORDER BY id LIMIT ?", (most,))]

    def sent(self, last_id: int) -> None:
        """Note that all messages up to one were acknowledged; the candidates that they are about are announced."""
        with transaction(self._database):
            announced = "UPDATE candidates SET standing = ? WHERE standing = ? AND id IN (SELECT candidate FROM outbox WHERE id <= ?)"
            self._database.execute(announced, (Standing.ANNOUNCED, Standing.PROMOTED, last_id))
            self._database.execute("DELETE FROM outbox WHERE id <= ?", (last_id,))

    def _announce(self, record: CycleStep | CycleFinished) -> None:
        self._send(CYCLES.name, record.cycle_id, msgspec.json.encode(record).decode())

    def _send(self, topic: str, key: str, value: str | None, candidate: int | None = None) -> None:
        self._database.execute("INSERT INTO outbox (topic, key, value, candidate) VALUES (?, ?, ?, ?)", (topic, key, value, candidate))

    def _put_mark(self, name: str, value: Mark) -> None:
        self._database.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (name, value if isinstance(value, str) else value(self.mark(name, ""))))

    def _candidates(self, where: str, parameters: tuple[object, ...]) -> list[Candidate]:
        query = f"SELECT id, cycle_id, name, kind, standing, word, detail FROM candidates WHERE {where} ORDER BY id"  # noqa: S608 - this module's own
        return [Candidate(row[0], row[1], row[2], row[3], Standing(row[4]), row[5], json.loads(row[6])) for row in self._database.execute(query, parameters)]


def _cycle_of(row: tuple[Any, ...]) -> Cycle:
    return Cycle(row[0], row[1], row[2], row[3], json.loads(row[4]), State(row[5]), row[6], bool(row[7]), row[8])


def _record_of(cycle_id: str, state: State, at: float, detail: dict[str, Any], learner: str) -> CycleStep | CycleFinished:
    if state.is_end:
        return CycleFinished(cycle_id=cycle_id, status=state, at=at, detail=detail, learner=learner)
    return CycleStep(cycle_id=cycle_id, step=state, at=at, detail=detail, number=state.number, learner=learner)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
