"""The topics, one line each: name, key, records, partitions, retention, compacted or not. Plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from stream import records

DAY_MS = 86_400_000
DEAD_LETTER_SUFFIX = ".dlt"
STATE_BYTES = 8 * 2**20
"""Room for what Eddy writes of its own state, whatever `EDDY_MAX_RECORD_BYTES` says of others' records: the totals of a class
with 129 arms, drawn or not, in 86 buckets of 21 sums with some 7 digits take 3.3 MB."""

ENVELOPE_BYTES = 65_536
"""Room in a request beside the value of its one largest record: key, headers, names and the batch around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic as Eddy needs it to be.

    Attributes:
        name: its name, as `eddy.<noun>`.
        key: what its records are keyed by.
        records: the types that stand on it.
        partitions: how many it has; None is the deployment's own number (`EDDY_PARTITIONS`).
        compacted: whether the broker keeps the last record of every key for ever.
        retention_ms: how long a record is kept where the topic is not compacted.
        broker_time: whether the broker stamps records (`LogAppendTime`).
    """

    name: str
    key: str
    records: tuple[type[msgspec.Struct], ...]
    partitions: int | None = 1
    compacted: bool = False
    retention_ms: int = 90 * DAY_MS
    broker_time: bool = False

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings, as a Kafka broker names them."""
        config = {"cleanup.policy": "compact"} if self.compacted else {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        return config | ({"message.timestamp.type": "LogAppendTime"} if self.broker_time else {})


LOGGED = (records.Trace, records.Feedback, records.Decision, records.Forget)
"""What one log holds, so that the order among them is given."""

TRACES = Topic(name="eddy.traces", key="trace_id", records=LOGGED, partitions=None, retention_ms=30 * DAY_MS, broker_time=True)
STATISTICS = Topic(name="eddy.statistics", key="fold/partition/query class", records=(records.PartitionStatistics,), compacted=True)
ROUTING = Topic(name="eddy.routing", key="query class, or a policy's name", records=(records.RoutingUpdate, records.PolicyParameters), compacted=True)
CYCLES = Topic(name="eddy.cycles", key="cycle id", records=(records.CycleRequested, records.CycleStep, records.CycleFinished, records.CycleOrder))
OVERRIDES = Topic(name="eddy.overrides", key="what it overrides", records=(records.Override,), compacted=True)
TRAINING_JOBS = Topic(name="eddy.training-jobs", key="job id", records=(records.TrainingJob, records.TrainingClaim, records.TrainingProgress, records.TrainingFinished))
AGENT_CONFIGS = Topic(name="eddy.agent-configs", key="agent name", records=(records.AgentConfig,), compacted=True)
ADAPTERS = Topic(name="eddy.adapters", key="adapter name", records=(records.Adapter,), compacted=True)
DEAD_LETTERS = Topic(name=TRACES.name + DEAD_LETTER_SUFFIX, key="as received", records=(), partitions=None, retention_ms=30 * DAY_MS)

TOPICS = (TRACES, STATISTICS, ROUTING, CYCLES, OVERRIDES, TRAINING_JOBS, AGENT_CONFIGS, ADAPTERS, DEAD_LETTERS)
"""All of them, in the order in which what is learned travels."""

CHANGELOG = re.compile(r"eddy-(?P<fold>[0-9a-f]+)-(?P<table>checkpoints|routing_state)-changelog")
"""The changelogs of a worker's tables, which no `Topic` states: there are two for every fold."""


def checkpoints_topic(fold: str) -> str:
    """Return the name of the changelog that holds a fold's checkpoints."""
    return f"eddy-{fold}-checkpoints-changelog"


def routing_state_topic(fold: str) -> str:
    """Return the name of the changelog that holds what the owner of the routing remembers."""
    return f"eddy-{fold}-routing_state-changelog"
