"""What another fold than the active one must know of what the active one has done."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stream.tables import checkpoints
from stream.tables.checkpoints import Checkpoints
from stream.worker import handled
from stream.worker.handled import handled_by


class Named:
    """Which fold is named active."""

    def __init__(self, fold: str | None) -> None:
        self._fold = fold

    async def known(self) -> str | None:
        return self._fold


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose commits were asked for; 40 for each partition."""
    folds: list[str] = []

    async def answer(fold: str, numbers: list[int], _: Any) -> dict[int, int]:
        folds.append(fold)
        return dict.fromkeys(numbers, 40)

    monkeypatch.setattr(checkpoints, "handled_by", answer)
    return folds


@pytest.mark.parametrize(("active", "expected"), [("other", {0: 40, 3: 40}), ("ours", {}), (None, {})], ids=["another", "own", "none"])
async def test_only_a_fold_that_is_not_the_active_one_skips(active: str | None, expected: dict[int, int], asked: list[str]):
    """The active fold, and the first there ever is, sends everything that it cannot fold: nobody else has."""
    app = SimpleNamespace(active_fold=Named(active), spec=SimpleNamespace(id="ours"), settings=SimpleNamespace(client_options={}))

    found = await Checkpoints._handled_elsewhere(SimpleNamespace(_app=app), [0, 3])  # type: ignore[arg-type]

    assert found == expected
    assert asked == (["other"] if expected else [])


async def test_commit_beyond_the_end_says_nothing(monkeypatch: pytest.MonkeyPatch):
    """It is of a log that was there before this one: the records below it are others, and nobody has sent on any of them."""

    async def ends(_: Any, places: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(places, 10)

    async def committed(group: str, places: list[tuple[str, int]], _: Any) -> dict[tuple[str, int], int]:
        assert group == "eddy-other"
        return dict(zip(places, (9, 10, 11), strict=True))

    monkeypatch.setattr(handled, "true_ends", ends)
    monkeypatch.setattr(handled, "_committed", committed)

    assert await handled_by("other", [0, 1, 2], {}) == {0: 9, 1: 10}
