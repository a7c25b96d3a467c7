"""The clients against a real broker: what they publish, what they follow, and how they live through outages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from stream.client import AgentConfigs, Eddy, FeedbackPublisher, Router, SyncEddy, SyncFeedbackPublisher, SyncRouter, SyncTracePublisher, TracePublisher
from stream.provision import provision
from stream.reading.partitioning import partition_of
from stream.records import AgentConfig, Feedback, Trace
from stream.settings import Settings
from stream.topics import AGENT_CONFIGS, ROUTING
from tests.broker.client_tools import records_of, routing_update, until, values_of, write_routes
from tests.conftest import Broker, GivenBroker

MakeSettings = Callable[..., Settings]


@pytest.fixture
async def settings(fresh_broker: Broker, make_settings: MakeSettings) -> Settings:
    settings = make_settings(fresh_broker.bootstrap)
    await provision(settings)
    return settings


@pytest.fixture
async def shared(broker: Broker, make_settings: MakeSettings) -> Settings:
    """A broker that the tests of this module share: each looks at its own keys only."""
    settings = make_settings(broker.bootstrap)
    await provision(settings)
    return settings


async def test_five_lines_publish_the_trace_its_decision_and_a_rating(settings: Settings) -> None:
    """The whole path of a user: the arm comes from the routes, the trace says what was decided and measured, the rating follows."""
    await write_routes(settings, routing_update("short", {"gpt-4": 1.0}))

    async with Eddy(settings=settings) as eddy:
        async with eddy.request("Sort a list", session_id="s1", tenant="acme") as request:
            await asyncio.sleep(0.02)
            request.finish(result=f"by {request.arm.model}", total_tokens=812, cost_usd=0.0121, outcome="success")
        await eddy.rate(request.trace_id, 1.0)

    trace, feedback = await values_of(settings)
    assert (trace["trace_id"], trace["query"], trace["query_class"], trace["model"]) == (request.trace_id, "Sort a list", "short", "gpt-4")
    assert (trace["result"], trace["total_tokens"], trace["cost_usd"], trace["outcome"]) == ("by gpt-4", 812, 0.0121, "success")
    assert (trace["session_id"], trace["tenant"]) == ("s1", "acme")
    assert 0.02 <= trace["total_latency_seconds"] < 1
    assert trace["decision"]["kind"] == "drawn"
    assert trace["decision"]["propensity"] == 1.0
    assert (feedback["type"], feedback["trace_id"], feedback["score"], feedback["rater_kind"]) == ("feedback", request.trace_id, 1.0, "human")


async def test_records_stand_under_their_trace_id_in_the_partition_that_java_clients_choose(shared: Settings) -> None:
    """A trace, its decision and its feedback must meet in one partition, whoever sent them."""
    async with TracePublisher(settings=shared) as traces, FeedbackPublisher(settings=shared) as ratings:
        for number in range(100):
            traces.publish(Trace(trace_id=f"t{number}", query="q"))
            ratings.publish(Feedback(trace_id=f"t{number}", rater="r", rater_kind="human", score=0.5, given_at=1.0))

    records = [record for record in await records_of(shared) if record.key.startswith(b"t")]
    assert Counter(record.key.decode() for record in records) == {f"t{number}": 2 for number in range(100)}
    assert all(record.partition == partition_of(record.key, 4) for record in records)
    assert {record.partition for record in records} == {0, 1, 2, 3}


@pytest.mark.embedded_only
async def test_publisher_does_without_idempotence_where_the_broker_has_none(shared: Settings) -> None:
    """Tansu 0.6 answers a request for a producer id with an error; that must not keep anything from being published."""
    async with TracePublisher(settings=shared) as publisher:
        publisher.publish(Trace(trace_id="idempotence"))
        assert await publisher.flush()
        assert not publisher.stats.idempotent


@pytest.mark.kafka_only
async def test_publisher_is_idempotent_where_the_broker_can(shared: Settings) -> None:
    """On Kafka a retry after a lost answer writes nothing twice."""
    async with TracePublisher(settings=shared) as publisher:
        publisher.publish(Trace(trace_id="idempotence"))
        assert await publisher.flush()
        assert publisher.stats.idempotent


async def test_fresh_router_ends_on_the_newest_update_of_every_class(settings: Settings) -> None:
    """It reads from the start to the true end, which the embedded broker's list of end offsets gets wrong by its last batch."""
    old = [routing_update(name, {"old": 1.0}, version=(1, number)) for number, name in enumerate(["code", "math", "gone"])]
    new = [
        routing_update("math", {"new": 1.0}, version=(2, 1)),
        "gone",
        routing_update("code", {"zombie": 1.0}, version=(1, 0)),
        routing_update("code", {"new": 1.0}, version=(2, 2)),
    ]
    await write_routes(settings, *old, *new)

    async with Router(settings=settings) as router:
        assert await router.ready()

        assert {name: table.whole.ids for name, table in router.snapshot.tables.items()} == {"math": ("new",), "code": ("new",)}
        assert router.select("q", query_class="code").policy_version == "2.2"
        assert router.select("q", query_class="gone").kind == "fallback"


async def test_router_is_ready_on_an_empty_topic_and_then_follows(settings: Settings) -> None:
    """A new deployment has no routes: a router must not wait for a first record, and must see it when it comes."""
    async with Router(settings=settings) as router:
        assert await router.ready()
        watched = asyncio.create_task(anext(router.updates()))
        await asyncio.sleep(0)

        await write_routes(settings, routing_update("code", {"a": 1.0}))

        assert (await asyncio.wait_for(watched, 10)).query_class == "code"
        assert router.select("q", query_class="code").arm.model == "a"


async def test_clients_start_before_the_topics_and_do_not_create_them(fresh_broker: Broker, make_settings: MakeSettings) -> None:
    """A service may come up before the first worker; a topic that a broker made by itself would have the wrong shape."""
    settings = make_settings(fresh_broker.bootstrap)
    async with Eddy(settings=settings, ready_timeout_s=0.5) as eddy:
        async with eddy.request("q") as request:
            request.finish(outcome="success")
        assert await provision(settings)  # raises when a topic stands there with another number of partitions

        assert await eddy.flush(20)

    assert [value["trace_id"] for value in await values_of(settings)] == [request.trace_id]


@pytest.mark.embedded_only
async def test_outage_is_lived_through_with_the_last_snapshot_a_bounded_buffer_and_order_kept(fresh_broker: Broker, settings: Settings) -> None:
    """While the broker is away requests are routed and nothing blocks; what fits the buffer is delivered in order, the rest counted.

    The embedded broker comes back empty: the routes in the new log count, although their versions are lower.
    """
    await write_routes(settings, routing_update("code", {"before": 1.0}, version=(7, 1)), routing_update("math", {"kept": 1.0}, version=(7, 2)))
    async with Router(settings=settings) as router, TracePublisher(settings=settings, max_records=50) as publisher:
        assert await router.ready()
        publisher.publish(Trace(trace_id="delivered-before"))
        assert await publisher.flush()

        fresh_broker.kill()
        taken = [publisher.publish(Trace(trace_id="same", query=str(number))) for number in range(80)]
        await asyncio.sleep(1.0)
        assert router.select("q", query_class="code").arm.model == "before"
        assert taken == [True] * 50 + [False] * 30
        assert publisher.stats.dropped == {"buffer_full": 30}

        await fresh_broker.start()
        await provision(settings)
        await write_routes(settings, routing_update("code", {"after": 1.0}, version=(1, 1)))
        assert await publisher.flush(30)
        await until(lambda: router.select("q", query_class="code").arm.model == "after")
        assert router.select("q", query_class="math").arm.model == "kept"

    queries = [value["query"] for value in await values_of(settings)]
    assert list(dict.fromkeys(queries)) == [str(number) for number in range(50)]


@pytest.mark.embedded_only
async def test_router_notices_a_log_made_anew_that_has_outgrown_the_old_one(fresh_broker: Broker, settings: Settings) -> None:
    """A router that only went on at its offset would miss what stands below it in the new log, for ever."""
    await write_routes(settings, routing_update("code", {"before": 1.0}, version=(9, 1)), routing_update("math", {"before": 1.0}, version=(9, 2)))
    async with Router(settings=settings) as router:
        assert await router.ready()

        fresh_broker.kill()
        await fresh_broker.start()
        await provision(settings)
        await write_routes(settings, routing_update("math", {"after": 1.0}), *[routing_update("code", {"after": 1.0}, version=(1, number)) for number in range(5)])

        await until(lambda: router.select("q", query_class="math").arm.model == "after")
        assert router.select("q", query_class="code").arm.model == "after"


@pytest.mark.kafka_only
async def test_outage_of_a_broker_that_keeps_its_log_loses_nothing(fresh_broker: Broker, settings: Settings) -> None:
    """The log goes on where it was: the router takes later versions only, and every record is there once, in order."""
    if isinstance(fresh_broker, GivenBroker):
        pytest.skip("needs a broker that it may kill: run it without EDDY_TEST_BOOTSTRAP")
    await write_routes(settings, routing_update("code", {"before": 1.0}, version=(7, 1)))
    async with Router(settings=settings) as router, TracePublisher(settings=settings) as publisher:
        assert await router.ready()
        publisher.publish(Trace(trace_id="same", query="0"))
        assert await publisher.flush()

        fresh_broker.kill()
        for number in range(1, 100):
            publisher.publish(Trace(trace_id="same", query=str(number)))
        await asyncio.sleep(1.0)
        assert router.select("q", query_class="code").arm.model == "before"
        await fresh_broker.start()
        assert await publisher.flush(60)
        await write_routes(settings, routing_update("code", {"stale": 1.0}, version=(6, 9)), routing_update("code", {"after": 1.0}, version=(7, 2)))

        await until(lambda: router.select("q", query_class="code").arm.model == "after", 60)

    queries = [value["query"] for value in await values_of(settings)]
    assert queries == [str(number) for number in range(100)]


async def test_closing_while_the_broker_never_came_counts_what_is_lost(make_settings: MakeSettings) -> None:
    """A process that ends must not hang on its broker, and must say what it could not deliver."""
    publisher = TracePublisher(settings=make_settings("127.0.0.1:9"))
    await publisher.start()
    publisher.publish(Trace(trace_id="t"))

    assert not await publisher.close(timeout_s=0.2)

    assert publisher.stats.dropped == {"closed": 1}
    assert not publisher.publish(Trace(trace_id="u"))


async def test_record_that_the_broker_refuses_is_dropped_alone(shared: Settings) -> None:
    """One record that is too large for the topic must not hold back, or take with it, the records around it."""
    generous = shared.model_copy(update={"max_record_bytes": 50_000_000})
    publisher = TracePublisher(settings=generous, max_bytes=100_000_000)
    for number in range(3):
        publisher.publish(Trace(trace_id="large", query=f"before {number}"))
    publisher.publish(Trace(trace_id="large", query="x" * 3_000_000))
    publisher.publish(Trace(trace_id="large", query="after"))

    async with publisher:
        assert await publisher.flush(30)
        stats = publisher.stats

    queries = [value["query"][:10] for value in await values_of(generous) if value["trace_id"] == "large"]
    if stats.dropped:
        assert stats.dropped == {"refused": 1}
        assert queries == ["before 0", "before 1", "before 2", "after"]
    else:
        assert queries == ["before 0", "before 1", "before 2", "xxxxxxxxxx", "after"]


async def test_agent_configs_are_followed_by_version_and_withdrawn_by_a_tombstone(shared: Settings) -> None:
    """An agent asks for the version that its decision named, and for none once the operator has taken it away."""
    producer = AIOKafkaProducer(bootstrap_servers=shared.bootstrap)
    await producer.start()
    for version in (1, 2):
        await producer.send_and_wait(AGENT_CONFIGS.name, key=b"react", value=msgspec.json.encode(AgentConfig(agent="react", version=version, toml=f"v = {version}")))
    async with AgentConfigs(settings=shared) as configs:
        assert await configs.ready()
        assert [config and config.toml for config in (configs.get("react"), configs.get("react", "1"), configs.get("react", 3))] == ["v = 2", "v = 1", None]

        await producer.send_and_wait(AGENT_CONFIGS.name, key=b"react", value=None)
        await producer.stop()

        await until(lambda: configs.get("react") is None)


async def test_unreadable_routing_record_is_passed_over(shared: Settings) -> None:
    """A router must outlive whatever stands on its topic: later records still count."""
    producer = AIOKafkaProducer(bootstrap_servers=shared.bootstrap)
    await producer.start()
    for value in (b"\xff", b"[1]", b'{"query_class": 7}'):
        await producer.send_and_wait(ROUTING.name, key=b"odd", value=value)
    await producer.stop()
    await write_routes(shared, routing_update("odd", {"a": 1.0}))

    async with Router(settings=shared) as router:
        assert await router.ready()
        assert router.select("q", query_class="odd").arm.model == "a"


def test_synchronous_handle_decides_publishes_and_rates(fresh_broker: Broker, make_settings: MakeSettings) -> None:
    """Code without an event loop takes the same path in the same lines."""
    settings = make_settings(fresh_broker.bootstrap)
    asyncio.run(provision(settings))
    asyncio.run(write_routes(settings, routing_update("short", {"gpt-4": 1.0})))

    with SyncEddy(settings=settings) as eddy:
        with eddy.request("Sort a list") as request:
            request.finish(result=request.arm.model, outcome="success")
        assert eddy.rate(request.trace_id, 1.0)
        assert eddy.flush()
    with SyncRouter(settings=settings) as router:
        assert router.ready()
        assert router.select("Sort a list").arm.model == "gpt-4"

    with SyncTracePublisher(settings=settings) as traces, SyncFeedbackPublisher(settings=settings) as ratings:
        assert traces.publish(Trace(trace_id=request.trace_id))
        assert traces.flush()
        assert ratings.publish(Feedback(trace_id=request.trace_id, rater="r", rater_kind="judge", score=0.5, given_at=1.0))

    trace, feedback, *others = asyncio.run(values_of(settings))
    assert (trace["model"], trace["result"], feedback["trace_id"]) == ("gpt-4", "gpt-4", trace["trace_id"])
    assert [other["type"] for other in others] == ["trace", "feedback"]
