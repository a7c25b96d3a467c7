"""The contextual policy beside a real broker: from traces to a router that chooses by the text of a request."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from stream.archive import fitting
from stream.client.router import Router
from stream.provision import provision
from stream.reading.partitioning import partition_of
from stream.settings import Settings
from stream.topics import ROUTING, TRACES
from tests.broker.learner_tools import learning, producing, until
from tests.unit.test_archive_fitting import CODE, PROSE, fleet
from tests.unit.test_routing_contextual import update

Make = Callable[..., Settings]


async def test_learner_fits_a_model_by_which_a_router_chooses(bootstrap: str, make_settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arms that are alike in their class: once the learner has published its model, code goes to the one and prose to the other.

    The table is published by hand; what routers do with it is the same whoever wrote it.
    """
    monkeypatch.setattr(fitting, "INTERVAL_S", 0.5)
    settings = make_settings(bootstrap, policy="contextual")
    await provision(settings)
    table = msgspec.structs.replace(update(coder=0.5, writer=0.5), query_class="any", version=(1, 1))
    async with producing(settings) as producer:
        await producer.send_and_wait(ROUTING.name, msgspec.json.encode(table), key=b"any")
        for record in fleet(400).records:
            await producer.send(TRACES.name, record.value, key=record.key, partition=partition_of(record.key or b"", settings.partitions))
        await producer.flush()

    async with learning(settings, mirror=False), Router(settings=settings, seed=random.Random(1).randrange(99)) as router:
        await until(lambda: router.snapshot.model is not None and router.snapshot.model.traces == 400)
        chosen = {text: Counter(router.select(text, query_class="any").arm.model for _ in range(200)) for text in (CODE, PROSE)}
        decision = router.select(CODE, query_class="any")

    assert chosen[CODE]["coder"] > 180
    assert chosen[PROSE]["writer"] > 180
    assert decision.propensity is not None
    assert decision.propensity > 0.9 or decision.arm.model == "writer"
