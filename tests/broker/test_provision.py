"""Topics are created as stated, found again, and refused when they do not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream.app import faust_settings
from stream.broker import free_port
from stream.errors import BrokerUnavailableError, TopicMismatchError
from stream.provision import changelog, plan, provision, verify
from stream.settings import Settings
from stream.topics import STATE_BYTES, STATISTICS, TOPICS, TRACES
from tests.conftest import Broker

CHECKPOINTS = changelog("eddy-0123456789ab-checkpoints-changelog", partitions=4)


async def partitions(bootstrap: str) -> dict[str, int]:
    """Count the partitions of every topic but Kafka's own, which other tests on the same Kafka leave behind."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(None) if not topic["topic"].startswith("__")}
    finally:
        await admin.close()


async def test_all_topics_are_created_with_their_partitions_and_settings(fresh_broker: Broker, make_settings: Callable[..., Settings]) -> None:
    """A broker that creates topics by itself picks its own count, and Faust then refuses to run: every topic is ours to create."""
    settings = make_settings(fresh_broker.bootstrap)

    created = await provision(settings, [CHECKPOINTS])

    assert set(created) == {topic.name for topic in TOPICS} | {CHECKPOINTS.name}
    present = await partitions(fresh_broker.bootstrap)
    assert {name: present[name] for name in created} == {topic.name: topic.partitions or 4 for topic in TOPICS} | {CHECKPOINTS.name: 4}
    assert await verify(settings, [CHECKPOINTS]) == []


async def test_provision_is_repeatable_and_may_run_several_times_at_once(fresh_broker: Broker, make_settings: Callable[..., Settings]) -> None:
    """Workers and learner start together, and each makes sure of the topics: one of them creates, none fails."""
    settings = make_settings(fresh_broker.bootstrap)

    created = await asyncio.gather(*(provision(settings) for _ in range(4)))
    again = await provision(settings)

    assert sorted(name for names in created for name in names) == sorted(topic.name for topic in TOPICS)
    assert again == []


async def test_another_partition_count_is_refused_before_anything_is_created(fresh_broker: Broker, make_settings: Callable[..., Settings]) -> None:
    """With another count the same trace id would fall on another partition: duplicates would count, feedback would miss its trace."""
    admin = AIOKafkaAdminClient(bootstrap_servers=fresh_broker.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TRACES.name, 3, 1)])
    await admin.close()

    with pytest.raises(TopicMismatchError, match="EDDY_PARTITIONS=3"):
        await provision(make_settings(fresh_broker.bootstrap))

    assert set(await partitions(fresh_broker.bootstrap)) == {TRACES.name}


async def test_state_may_be_larger_than_records_may(fresh_broker: Broker, make_settings: Callable[..., Settings]) -> None:
    """A small limit on others' records must not keep a worker from writing the totals of a class with many arms: it would end, and end again."""
    settings = make_settings(fresh_broker.bootstrap, max_record_bytes=20_000)
    await provision(settings, [CHECKPOINTS])
    producer = AIOKafkaProducer(bootstrap_servers=fresh_broker.bootstrap, max_request_size=faust_settings(settings)["producer_max_request_size"])
    await producer.start()

    try:
        sent = [await producer.send_and_wait(topic, b"x" * STATE_BYTES, b"key", 0) for topic in (STATISTICS.name, CHECKPOINTS.name)]
    finally:
        await producer.stop()

    assert [record.offset for record in sent] == [0, 0]


async def test_verify_names_what_is_missing_and_changes_nothing(fresh_broker: Broker, make_settings: Callable[..., Settings]) -> None:
    """`eddy doctor` may be run by anybody at any time: it reports, each finding with what to do, and creates nothing."""
    findings = await verify(make_settings(fresh_broker.bootstrap))

    assert [(finding.topic, finding.severity) for finding in findings] == [(topic.name, "error") for topic in TOPICS]
    assert all(finding.remedy for finding in findings)
    assert await partitions(fresh_broker.bootstrap) == {}


async def test_verify_warns_of_a_setting_that_differs(fresh_broker: Broker, make_settings: Callable[..., Settings]) -> None:
    """A compacted topic that somebody made with `delete` forgets what was learned after a week: that must be seen before."""
    settings = make_settings(fresh_broker.bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=fresh_broker.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("eddy.routing", 1, 1, topic_configs={"cleanup.policy": "delete"})])
    await admin.close()
    await provision(settings)

    findings = [finding for finding in await verify(settings) if finding.topic == "eddy.routing" and "cleanup" in finding.problem]

    assert [finding.severity for finding in findings] == ["warning"]
    assert "cleanup.policy=compact" in findings[0].remedy


async def test_refused_creation_says_what_to_correct(fresh_broker: Broker, make_settings: Callable[..., Settings]) -> None:
    """Three replicas on one broker: Kafka refuses, and the refusal must name the setting. Tansu takes any number."""
    settings = make_settings(fresh_broker.bootstrap, replication_factor=3)

    try:
        await provision(settings)
    except TopicMismatchError as error:
        assert "EDDY_REPLICATION_FACTOR" in str(error)
    else:
        assert await partitions(fresh_broker.bootstrap)


async def test_absent_broker_is_told_within_seconds(make_settings: Callable[..., Settings]) -> None:
    """The first thing that goes wrong for a new user: the sentence must name the address and the setting."""
    address = f"127.0.0.1:{free_port()}"

    with pytest.raises(BrokerUnavailableError, match=f"{address}.*EDDY_BOOTSTRAP"):
        await asyncio.wait_for(provision(make_settings(address)), 10)


@pytest.mark.parametrize("size", [1_000_000, 5_000_000])
def test_greatest_record_fits_every_topic(size: int, make_settings: Callable[..., Settings]) -> None:
    """A record that the settings allow must not be refused by a topic's own limit, its headers and key included."""
    settings = make_settings("127.0.0.1:1", max_record_bytes=size)

    limits = {int(topic.config["max.message.bytes"]) for topic in plan(settings, [CHECKPOINTS])}

    assert min(limits) >= max(size + 40_000, 1_048_588)


@pytest.mark.kafka_only
async def test_kafka_stamps_traces_with_its_own_time(fresh_broker: Broker, make_settings: Callable[..., Settings]) -> None:
    """The log's time must not be a producer's to choose: a trace dated 1970 stands in the log at the time it came."""
    await provision(make_settings(fresh_broker.bootstrap))
    producer = AIOKafkaProducer(bootstrap_servers=fresh_broker.bootstrap)
    await producer.start()
    await producer.send_and_wait(TRACES.name, b"{}", partition=0, timestamp_ms=1_000)
    await producer.stop()

    record = await first_record(fresh_broker.bootstrap, TopicPartition(TRACES.name, 0))

    assert record.timestamp_type == 1
    assert record.timestamp > 1_700_000_000_000


async def first_record(bootstrap: str, partition: TopicPartition):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([partition])
    try:
        return await asyncio.wait_for(consumer.getone(), 10)
    finally:
        await consumer.stop()
