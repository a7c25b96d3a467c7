"""What the mirror must hold beside a real broker, so that an embedded restart finds a checkpoint."""

from __future__ import annotations

from collections.abc import Callable

from stream.draining import archived
from stream.fold.spec import FoldSpec
from stream.provision import changelog, provision
from stream.settings import Settings
from stream.topics import OVERRIDES, routing_state_topic
from tests.broker.learner_tools import learning, producing, until


async def test_mirror_takes_in_topics_that_are_made_after_the_learner_started(bootstrap: str, make_settings: Callable[..., Settings]) -> None:
    """On the first start of all the learner is there before the worker has made its changelogs; without them a restart has no checkpoint."""
    settings = make_settings(bootstrap)
    late = routing_state_topic(FoldSpec.of(settings).id)
    await provision(settings)
    async with producing(settings) as producer, learning(settings, mirror=True):
        await producer.send_and_wait(OVERRIDES.name, b"{}", key=b"k")
        await until(lambda: _mirrored(settings).get((OVERRIDES.name, 0)) == 1)
        await provision(settings, [changelog(late, partitions=1)])
        await producer.send_and_wait(late, b"{}", key=b"k")
        await until(lambda: _mirrored(settings).get((late, 0)) == 1)


def _mirrored(settings: Settings) -> dict[tuple[str, int], int]:
    try:
        return archived(settings)
    except FileNotFoundError:
        return {}
