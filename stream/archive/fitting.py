"""Fitting the contextual model: the learner reads draws and their scores back out of the archive, fits, and publishes the weights.

The archive is a view of the log, so that the model is a function of it too; what is kept here is only a copy of its newest draws.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from stream.archive.blocks import Kind
from stream.archive.draws import draw_of
from stream.archive.reader import ArchivedTrace, ArchiveReader
from stream.errors import ArchiveFormatError
from stream.fold.spec import FoldSpec
from stream.reading.reward import Reward, reward_function
from stream.routing.calibration import lines_of
from stream.routing.contextual import ContextualModel
from stream.routing.contextual_fit import fit
from stream.routing.evidence import NO_SCORES, Tally
from stream.routing.features import features
from stream.routing.pooling import pool
from stream.routing.settings import RoutingSettings
from stream.topics import ROUTING

if TYPE_CHECKING:
    from stream.settings import Settings

logger = logging.getLogger(__name__)

INTERVAL_S = 10.0
"""Between two fits: the model says what is particular to requests, which changes slowly; what changes fast is in the tables."""
KEPT_DRAWS = 20_000
"""Newest draws that a model is fitted to: 10 MB, and 0.1 s."""
READ_RECORDS = 4_000
"""Newest records that are read at a fit, at about 0.1 ms each; of a busier log the rest is left out."""


class Remembered(NamedTuple):
    """A draw, as far as the fit needs it: what it earned by the source that counts, and what each source says of it."""

    query_class: str
    arm: str
    score: float | None
    at_ms: int
    x: tuple[float, ...]
    scores: Mapping[str, float] = MappingProxyType({})


class _Text(msgspec.Struct):
    query: str = ""


_decode_text = msgspec.json.Decoder(_Text).decode


class Recollection:
    """The newest draws of an archive, with their scores as they are by now.

    Args:
        settings: of routing.
        reward: what a trace earned; its score where it is None.
        kept: draws that are remembered.
    """

    def __init__(self, settings: RoutingSettings, reward: Reward | None = None, *, kept: int = KEPT_DRAWS) -> None:
        self._settings, self._reward, self._kept = settings, reward, kept
        self._draws: OrderedDict[str, Remembered] = OrderedDict()
        self._read = 0

    def __len__(self) -> int:
        return len(self._draws)

    def refresh(self, reader: ArchiveReader) -> bool:
        """Read what is new; returns whether anything was.

        1. New traces that a router drew are remembered, and the oldest forgotten.
        2. Scores of remembered ones that were rated since are read again.
        """
        after_seq, indexed = max(self._read, reader.indexed - READ_RECORDS), reader.indexed
        if indexed <= self._read:
            return False
        for trace in reader.traces(after_seq=after_seq, newest_first=False):  # 1
            self._take(trace)
        rated = {entry.trace_id for entry in reader.entries(after_seq=after_seq) if entry.kind is Kind.FEEDBACK and entry.trace_id in self._draws}
        for trace_id in rated:  # 2
            if trace_id is not None and (found := reader.trace(trace_id)) is not None:
                self._take(found)
        while len(self._draws) > self._kept:
            self._draws.popitem(last=False)
        self._read = indexed
        return True

    def _take(self, trace: ArchivedTrace) -> None:
        draw, text = draw_of(trace, None, self._settings.arm_fields, self._reward), _text_of(trace)
        if draw is not None and text:
            score = next(iter(draw.scores.values()), None)
            known = self._draws.get(trace.entry.trace_id or "")
            x = known.x if known else tuple(features(text))
            self._draws[trace.entry.trace_id or ""] = Remembered(draw.query_class, draw.arm, score, trace.entry.timestamp_ms, x, draw.scores)

    def model(self) -> ContextualModel:
        """Fit a model to the scored draws, each weighted by its age."""
        scored = _on_peoples_scale([draw for draw in self._draws.values() if draw.score is not None])
        if not scored:
            return ContextualModel()
        newest_ms = max(draw.at_ms for draw in scored)
        weights = np.array([2.0 ** -((newest_ms - draw.at_ms) / 1000 / self._settings.half_life_s) for draw in scored])
        means = means_of(scored, weights.tolist(), self._settings.pooled_cap)
        rewards = np.array([draw.score for draw in scored], dtype=np.float64)
        levels = np.array([means[draw.query_class, draw.arm] for draw in scored])
        return fit(np.array([draw.x for draw in scored]), [draw.arm for draw in scored], rewards, levels, weights)


def _on_peoples_scale(scored: list[Remembered]) -> list[Remembered]:
    """Read every source's scores as the tables do: who rates an arm must not count as what it is worth."""
    lines = lines_of(draw.scores for draw in scored)
    return [draw._replace(score=line.level + line.slope * (draw.score or 0.0)) if (line := lines.get(next(iter(draw.scores), ""))) else draw for draw in scored]


def _text_of(trace: ArchivedTrace) -> str:
    try:
        return _decode_text(trace.entry.value or b"").query
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def means_of(scored: Iterable[Remembered], weights: Iterable[float], most: float) -> dict[tuple[str, str], float]:
    """Mean score of each class's arms, as the tables have it: its own traces, and what other classes say."""
    classes: dict[str, dict[str, Tally]] = {}
    for draw, weight in zip(scored, weights, strict=True):
        arms, score = classes.setdefault(draw.query_class, {}), draw.score or 0.0
        arms[draw.arm] = arms.get(draw.arm, NO_SCORES).plus(Tally(weight, weight * score, weight * score * score))
    pooled, means = pool((classes[name] for name in sorted(classes)), most), {}
    for name, arms in classes.items():
        part = pooled.part_of(arms)
        means.update({(name, arm_id): own.plus(pooled.prior(arm_id, own, part)).mean or 0.0 for arm_id, own in arms.items()})
    return means


class Modeller:
    """Fits and publishes, for as long as the learner runs.

    Args:
        settings: of the deployment.
        path: the archive's file.
    """

    def __init__(self, settings: Settings, path: Path) -> None:
        self._settings, self._path = settings, path
        spec = FoldSpec.of(settings)
        self._recollection = Recollection(RoutingSettings.of(settings), reward_function(spec.reward, spec.reward_without))

    @staticmethod
    def is_wanted(settings: Settings) -> bool:
        """Whether the deployment's routers use a model: where tenants are apart there is none, since it would tell of one to another."""
        return settings.policy == "contextual" and settings.query_text == "full" and not settings.keeps_tenants_apart

    async def run(self) -> None:
        """Publish a model every few seconds in which something new was archived; a broker that is away is tried again."""
        from aiokafka.errors import KafkaError

        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                model = await asyncio.to_thread(self._fitted)
                if model is not None:
                    await self._publish(model)
            except (KafkaError, OSError, ArchiveFormatError, sqlite3.Error, np.linalg.LinAlgError) as exc:
                logger.warning("no contextual model was published: %r; it is tried again", exc)

    def _fitted(self) -> ContextualModel | None:
        with ArchiveReader(self._path) as reader:
            return self._recollection.model() if self._recollection.refresh(reader) else None

    async def _publish(self, model: ContextualModel) -> None:
        from aiokafka import AIOKafkaProducer

        parameters = model.parameters((time.time_ns() // 1_000_000, 0))
        producer = AIOKafkaProducer(**self._settings.client_options, acks="all")
        await producer.start()
        try:
            await producer.send_and_wait(ROUTING.name, msgspec.json.encode(parameters), key=parameters.key.encode())
        finally:
            await producer.stop()
