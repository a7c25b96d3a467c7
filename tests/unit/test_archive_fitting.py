"""What the learner remembers of draws, and the model that it fits to them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from stream.archive.fitting import Modeller, Recollection
from stream.archive.reader import ArchiveReader
from stream.routing.contextual_fit import GREATEST_SAMPLE
from stream.routing.features import features
from stream.routing.settings import RoutingSettings
from stream.settings import Settings
from tests.unit.archive_support import Log, filled, no_archive_left_open, opened  # noqa: F401 - a fixture

CODE, PROSE = "```python\ndef f(x):\n    return x\n``` What does this do?", "Tell me a story about a fox who lost his hat in the snow."


def drawn(log: Log, trace_id: str, arm: str, query: str, **fields: Any) -> None:
    decision = {"trace_id": trace_id, "kind": "drawn", "query_class": "any", "arm": {"model": arm}, "propensity": 0.5, "candidates": ["coder", "writer"]}
    log.trace(trace_id, query=query, model=arm, query_class="any", decision=decision, **fields)


def fleet(number: int, *, seed: int = 3) -> Log:
    """Draws of two arms alike: `coder` does well with code alone, `writer` with prose alone."""
    rng, log = random.Random(seed), Log()
    for each in range(number):
        query, arm = rng.choice([CODE, PROSE]), rng.choice(["coder", "writer"])
        good = (query == CODE) == (arm == "coder")
        drawn(log, f"t{each}", arm, query, feedback=float(rng.random() < (0.9 if good else 0.2)))
    return log


async def test_model_is_fitted_to_the_archive(tmp_path: Path) -> None:
    """Four hundred draws of two arms that are alike on average: with code `coder` is ahead by half a reward and more, with prose behind."""
    path, recollection = await filled(tmp_path, fleet(400)), Recollection(RoutingSettings())

    with ArchiveReader(path) as reader:
        assert recollection.refresh(reader)
        assert not recollection.refresh(reader)
    model = recollection.model()

    by_text = [model.advantages(features(text)) for text in (CODE, PROSE)]
    assert by_text[0]["coder"] - by_text[0]["writer"] > 0.5
    assert by_text[1]["writer"] - by_text[1]["coder"] > 0.5
    assert len(model.sample) == GREATEST_SAMPLE


async def test_only_scored_draws_with_a_text_count(tmp_path: Path) -> None:
    """What no router drew is confounded; what nobody scored says nothing yet; without a text there are no features."""
    log = Log()
    drawn(log, "unrated", "coder", CODE)
    drawn(log, "textless", "coder", "", feedback=1.0)
    log.trace("chosen", query=CODE, feedback=1.0)
    drawn(log, "good", "coder", CODE, feedback=1.0)
    recollection = Recollection(RoutingSettings())

    with ArchiveReader(await filled(tmp_path, log)) as reader:
        recollection.refresh(reader)

    assert len(recollection) == 2
    assert recollection.model().traces == 1


async def test_a_rating_that_comes_later_counts_from_the_next_fit_on(tmp_path: Path) -> None:
    """The trace was read long before: its score is read again when feedback on it is archived."""
    log = Log()
    drawn(log, "late", "coder", CODE)
    archive = await opened(tmp_path)
    await archive.append({0: log.records})
    await archive.index()
    recollection, path = Recollection(RoutingSettings()), tmp_path / "archive.sqlite3"
    with ArchiveReader(path) as reader:
        recollection.refresh(reader)
    before = recollection.model().traces
    await archive.append({0: [log.feedback("late", 1.0)]})
    await archive.index()
    with ArchiveReader(path) as reader:
        recollection.refresh(reader)

    assert (before, recollection.model().traces) == (0, 1)


async def test_only_the_newest_draws_are_kept(tmp_path: Path) -> None:
    """Memory is bounded, whatever the archive holds."""
    recollection = Recollection(RoutingSettings(), kept=30)

    with ArchiveReader(await filled(tmp_path, fleet(100))) as reader:
        recollection.refresh(reader)

    assert len(recollection) == 30
    assert recollection.model().weights == {}  # too few to fit


def test_no_model_where_it_would_tell_or_cannot_know() -> None:
    """Another policy needs none; tenants apart would hear of each other; a text that is not in the log has no features."""
    assert Modeller.is_wanted(Settings(policy="contextual"))
    assert not Modeller.is_wanted(Settings(policy="thompson"))
    assert not Modeller.is_wanted(Settings(policy="contextual", tenants="apart"))
    assert not Modeller.is_wanted(Settings(policy="contextual", query_text="hashed"))
