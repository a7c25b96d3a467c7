"""Creates Eddy's topics as `stream.topics` states them, and tells what differs about those that exist.

It never changes a topic that exists: a partition count cannot be changed without moving trace ids to other partitions, and the
rest is an operator's to change. Measured on Tansu 0.6 (CreateTopics v3): partition counts hold, a topic's settings are kept and read
back, but none is acted upon. In particular `message.timestamp.type=LogAppendTime` is not: a record keeps the time its producer gave
(timestamp type 0), where Kafka 4.3 stamps it (type 1).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from stream.errors import BrokerUnavailableError, TopicMismatchError
from stream.settings import Settings
from stream.topics import STATE_BYTES, TOPICS, TRACES, checkpoints_topic, routing_state_topic

REQUEST_TIMEOUT_MS = 15_000
VISIBLE_S = 30.0
"""A created topic is in every broker's metadata within a second; a cluster under load has been seen to take several."""
COMPACTION_LAG_MS = 3_600_000
"""Longer than the longest recovery: else the cleaner can take away what a reader, well behind it, still needs."""
KAFKA_MAX_MESSAGE_BYTES = 1_048_588
"""A Kafka broker's own default for `max.message.bytes`."""
RECORD_OVERHEAD_BYTES = 65_536
"""Room beside a record's value for its key, its headers and the batch around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """A topic as it is to stand on one deployment's broker."""

    name: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is not as it should be with a topic, and what to do about it."""

    topic: str
    severity: Literal["error", "warning"]
    problem: str
    remedy: str


def changelog(name: str, *, partitions: int, compaction_lag_ms: int = COMPACTION_LAG_MS) -> TopicPlan:
    """Plan the changelog of a table: compacted, and never sooner than a reader may still need what is compacted away."""
    return TopicPlan(name=name, partitions=partitions, config={"cleanup.policy": "compact", "min.compaction.lag.ms": str(compaction_lag_ms)})


def worker_changelogs(fold: str, *, partitions: int) -> list[TopicPlan]:
    """Plan the changelogs of a worker's tables.

    Args:
        fold: id of the fold that it runs.
        partitions: of the log.
    """
    return [changelog(checkpoints_topic(fold), partitions=partitions), changelog(routing_state_topic(fold), partitions=1)]


def plan(settings: Settings, extra: Iterable[TopicPlan] = ()) -> tuple[TopicPlan, ...]:
    """Plan all topics of a deployment.

    Args:
        settings: partitions, replication factor and greatest record.
        extra: further topics, such as a worker's changelogs.
    """
    stated = tuple(TopicPlan(name=topic.name, partitions=topic.partitions or settings.partitions, config=topic.config) for topic in TOPICS)
    return tuple(_fitted(topic, settings) for topic in (*stated, *extra))


def log_plan(settings: Settings) -> TopicPlan:
    """Plan the log alone."""
    return next(topic for topic in plan(settings) if topic.name == TRACES.name)


async def provision(settings: Settings, extra: Iterable[TopicPlan] = ()) -> list[str]:
    """Create the topics that are missing; safe to run again, and by several at once.

    1. Read what is there, and refuse before anything is created if it does not fit.
    2. Create what is missing; what another has created meanwhile is taken as it is.
    3. Wait until all of it is visible, and look at it again.

    Args:
        settings: the deployment.
        extra: further topics, such as a worker's changelogs (`changelog`).

    Returns:
        The names of the topics that this call created.

    Raises:
        TopicMismatchError: an existing topic has another number of partitions, or the broker refuses to create one.
        BrokerUnavailableError: the broker cannot be reached.
    """
    planned = plan(settings, extra)
    async with _admin(settings) as admin:
        present = await _partitions(admin)
        _refuse_other_counts(planned, present)
        created = await _create(admin, [topic for topic in planned if topic.name not in present], settings)
        _refuse_other_counts(planned, await _all_visible(admin, planned))
    return created


async def verify(settings: Settings, extra: Iterable[TopicPlan] = ()) -> list[Finding]:
    """Compare the topics with what they should be, changing nothing.

    Raises:
        BrokerUnavailableError: the broker cannot be reached.
    """
    planned = plan(settings, extra)
    async with _admin(settings) as admin:
        present = await _partitions(admin)
        configs = await _configs(admin, [topic.name for topic in planned if topic.name in present])
    findings = [_count_finding(topic, present.get(topic.name)) for topic in planned]
    findings += [finding for topic in planned if topic.name in configs for finding in _config_findings(topic, configs[topic.name])]
    return [finding for finding in findings if finding is not None]


def _fitted(topic: TopicPlan, settings: Settings) -> TopicPlan:
    least = STATE_BYTES + RECORD_OVERHEAD_BYTES if topic.config["cleanup.policy"] == "compact" else KAFKA_MAX_MESSAGE_BYTES
    config = {"max.message.bytes": str(max(least, settings.max_record_bytes + RECORD_OVERHEAD_BYTES))} | dict(topic.config)
    if settings.replication_factor >= 3:
        config["min.insync.replicas"] = "2"
    return TopicPlan(name=topic.name, partitions=topic.partitions, config=config)


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(**settings.client_options, request_timeout_ms=REQUEST_TIMEOUT_MS, client_id="eddy-provision")
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError, TimeoutError) as exc:
        reason = f"{type(exc).__name__}: {exc}"
        raise BrokerUnavailableError(
            f"the broker at {settings.bootstrap} does not answer ({reason}), but its topics are needed; start it, or set EDDY_BOOTSTRAP to where it is"
        ) from exc
    finally:
        await admin.close()


async def _partitions(admin: Any) -> dict[str, int]:
    """Number of partitions, each with a leader, of every topic there is."""
    # All topics are asked for: a broker may create one that is asked for by its name.
    topics = await admin.describe_topics(None)
    return {topic["topic"]: sum(partition["leader"] >= 0 for partition in topic["partitions"]) for topic in topics if topic["error_code"] == 0}


async def _create(admin: Any, missing: Sequence[TopicPlan], settings: Settings) -> list[str]:
    if not missing:
        return []
    wanted = [NewTopic(topic.name, topic.partitions, settings.replication_factor, topic_configs=dict(topic.config)) for topic in missing]
    response = await admin.create_topics(wanted, timeout_ms=REQUEST_TIMEOUT_MS)
    created = []
    for name, code, *message in response.topic_errors:
        if code == 0:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:
            raise TopicMismatchError(
                f"the broker refuses to create {name} ({for_code(code).__name__}: {(message or [''])[0]}), but Eddy needs it with"
                f" replication factor {settings.replication_factor}; correct EDDY_REPLICATION_FACTOR, grant the right to create topics, or create it by hand"
            )
    return created


async def _all_visible(admin: Any, planned: Sequence[TopicPlan]) -> dict[str, int]:
    try:
        async with asyncio.timeout(VISIBLE_S):
            while True:
                present = await _partitions(admin)
                if all(present.get(topic.name) for topic in planned):
                    return present
                await asyncio.sleep(0.05)
    except TimeoutError as exc:
        raise BrokerUnavailableError(f"not every topic has a leader {VISIBLE_S:g} s after its creation, but all must; see whether the cluster is well and start again") from exc


def _refuse_other_counts(planned: Sequence[TopicPlan], present: Mapping[str, int]) -> None:
    for topic in planned:
        finding = _count_finding(topic, present.get(topic.name, topic.partitions))
        if finding is not None:
            raise TopicMismatchError(f"{topic.name} {finding.problem}; {finding.remedy}")


def _count_finding(topic: TopicPlan, present: int | None) -> Finding | None:
    if present is None:
        return Finding(topic=topic.name, severity="error", problem="does not exist", remedy="start a worker, which creates it, or `eddy up`")
    if present == topic.partitions:
        return None
    return Finding(
        topic=topic.name,
        severity="error",
        problem=f"has {present} partitions, but {topic.partitions} are asked for, and another number would send the same trace id elsewhere",
        remedy=f"set EDDY_PARTITIONS={present} if it is what you meant, else make a new topic and fold it with `eddy rebuild`"
        if topic.partitions != 1
        else "delete it while nothing runs, and start again",
    )


async def _configs(admin: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    resources = [resource for response in responses for resource in response.resources]
    return {resource[3]: {entry[0]: entry[1] for entry in resource[4]} for resource in resources if resource[0] == 0}


def _config_findings(topic: TopicPlan, present: Mapping[str, str]) -> list[Finding]:
    return [
        Finding(
            topic=topic.name,
            severity="warning",
            problem=f"has {setting}={present.get(setting, 'its default')}, but {value} is meant",
            remedy=f"kafka-configs.sh --alter --entity-type topics --entity-name {topic.name} --add-config {setting}={value}",
        )
        for setting, value in topic.config.items()
        if present.get(setting) != value
    ]
