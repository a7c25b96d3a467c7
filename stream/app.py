"""The worker: a Faust app with Eddy's transport, tables and agents, and the entry that runs it as a process.

It decides nothing about records: agents do, by calling the library. It runs no learning cycle and no archive.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import faust
import faust.streams
from aiokafka.admin import AIOKafkaAdminClient
from faust.types.tuples import TP

from stream import metrics
from stream.addresses import address_file
from stream.errors import MissingExtraError, SettingsError
from stream.fold.spec import FoldSpec
from stream.health import HealthServer
from stream.process import tune
from stream.provision import provision, worker_changelogs
from stream.settings import Settings
from stream.topics import CYCLES, ENVELOPE_BYTES, OVERRIDES, ROUTING, STATE_BYTES, STATISTICS, TRACES, Topic
from stream.transport.chunks import ChunkSchema
from stream.transport.consumer import install
from stream.transport.recovery import read_again
from stream.worker.active_fold import ActiveFold
from stream.worker.fatal import guarded
from stream.worker.ownership import Ownership
from stream.worker.rebalancing import Rebalancing
from stream.worker.watchdog import Watchdog

if TYPE_CHECKING:
    from stream.tables.checkpoints import Checkpoints
    from stream.tables.class_statistics import ClassStatistics
    from stream.tables.routing_state import RoutingLedger
    from stream.worker.routing_term import RoutingTerm

REQUEST_TIMEOUT_S = 30.0
"""Faust's default for the producer is 1200 s: an unanswered checkpoint would hold a partition for twenty minutes."""
LINGER_S = 0.002
BATCH_BYTES = 512 * 1024
FETCH_BYTES = 1 << 20
"""Of one partition at a time: some 690 traces, 10 ms of folding."""
CHUNKS_BUFFERED = 16
"""Per agent; a chunk is up to 1 MiB."""
EMBEDDED_CLUSTER_ID = "eddy"
"""As `stream.broker` starts it; Kafka's own ids are 22 characters long."""
HEARTBEAT_INTERVAL_SHARE = 1 / 20
"""Of the session, between two heartbeats. Tansu holds a member's SyncGroup for 0.8 of the session, and its first heartbeat has to
come before the rest of it has passed."""
SOURCES = frozenset(topic.name for topic in (TRACES, STATISTICS, OVERRIDES, ROUTING, CYCLES))
"""The topics that come in chunks; all others that Faust reads are changelogs."""

logger = logging.getLogger("eddy.worker")


class Owner(Protocol):
    """What holds something of an assignment from its recovery to its end."""

    def revoked(self) -> None:
        """Let go of everything."""

    async def recovered(self, assigned: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Take what is assigned, after the changelogs have been read; returns where to read each source partition on."""

    async def finish(self) -> None:
        """Make everything durable before the process ends."""


class WorkerApp(faust.App):
    """The Faust app, knowing what Eddy's tables and agents share."""

    settings: Settings
    spec: FoldSpec
    ownership: Ownership
    active_fold: ActiveFold
    owners: list[Owner]
    checkpoints: Checkpoints
    new_class_statistics: Callable[[], ClassStatistics]
    routing_ledger: RoutingLedger
    routing_term: RoutingTerm | None = None
    """In which this worker decides the routing, while it does."""
    health: HealthServer | None = None

    def prepare(self, settings: Settings) -> None:
        """Put Eddy's transport and what its tables need into place."""
        self.settings, self.spec, self.owners = settings, FoldSpec.of(settings), []
        self._background: list[tuple[Callable[[], Awaitable[None]], str]] = []
        transport = install(self, sources=SOURCES, client_options=settings.client_options)
        transport.durable_offset = lambda tp: self.checkpoints.durable_offset(tp.topic, tp.partition)
        self.ownership = Ownership(transport.heartbeat, session_timeout_s=settings.session_timeout_s, assigned=self.assigned, is_rebalancing=lambda: self.rebalancing)
        self.active_fold = ActiveFold(self.spec.id, send=self.send_record, client_options=settings.client_options)
        self.in_background(self.active_fold.follow, "following the active fold")
        self.rebalancing_steps = Rebalancing(self, transport.heartbeat, forget=lambda: read_again(self))

    def chunks_of(self, *topics: Topic) -> Any:
        """A Faust topic, over one or more of Eddy's, whose events are chunks."""
        return self.topic(*[topic.name for topic in topics], schema=ChunkSchema(), partitions=topics[0].partitions or self.settings.partitions)

    def in_background(self, work: Callable[[], Awaitable[None]], doing: str) -> None:
        """Have something run from start to end of the process; an error in it is fatal."""
        self._background.append((work, doing))

    def is_current(self, message: Any) -> bool:
        """Whether a message belongs to the present assignment."""
        return bool(message.generation_id == self.consumer_generation_id)

    def assigned(self) -> set[tuple[str, int]]:
        """The (topic, partition) pairs assigned now."""
        return {(tp.topic, tp.partition) for tp in self.consumer.assignment()}

    def high_watermark(self, topic: str, partition: int) -> int:
        """The end of a log, as the last fetch of it said; 0 before the first, and once the partition is another worker's."""
        try:
            return self.consumer.highwater(TP(topic, partition)) or 0
        except AssertionError:  # so aiokafka says that the assignment has ended, which its thread knows before the agents do
            return 0

    async def send_record(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> asyncio.Future[Any]:
        """Hand a record to the producer."""
        while not self.producer.started:
            await asyncio.sleep(0.05)
        sent: asyncio.Future[Any] = await self.producer.send(topic, key, value, partition, None, list(headers))
        return sent

    async def seek(self, places: Mapping[tuple[str, int], int]) -> None:
        """Move the source partitions to where they are to be read on; they must be paused."""
        await self.consumer.seek_wait({TP(*place): offset for place, offset in places.items()})

    async def on_start(self) -> None:
        """Start what runs in the background, then the app."""
        if self.health is not None:
            await self.health.start()
        for work, doing in self._background:
            self.add_future(guarded(work, doing, lambda: self.should_stop))
        await super().on_start()

    async def on_stop(self) -> None:
        """Write the last checkpoints while the partitions are still held, then stop."""
        for owner in self.owners:
            try:
                await owner.finish()
            except Exception as exc:  # what is not durable will be folded again; nothing may keep the process from ending
                logger.warning("the last checkpoints were not written: %s: %s", type(exc).__name__, exc)
        await super().on_stop()
        if self.health is not None:
            await self.health.stop()


def create_app(settings: Settings) -> WorkerApp:
    """Build the app: transport, then tables and agents in the order in which a record meets them. No broker is called.

    Raises:
        MissingExtraError: Faust runs without its compiled stream iterator, or a table or agent is not installed.
    """
    _require_compiled_faust()
    tables, agents = importlib.import_module("stream.tables"), importlib.import_module("stream.agents")
    app = WorkerApp(f"eddy-{FoldSpec.of(settings).id}", **faust_settings(settings))
    app.prepare(settings)
    for package in (tables, agents):
        for name in package.MODULES:
            _module(package, name).register(app)
    _require_agents(app, agents.MODULES)
    watchdog = Watchdog(app, app.checkpoints.holdings)
    app.in_background(watchdog.run, "watching over progress")
    app.health = HealthServer(
        host=settings.metrics_host,
        port=settings.worker_port,
        address_file=address_file(settings.data_dir, "worker"),
        is_live=watchdog.what_is_stuck,
        is_ready=watchdog.what_is_missing,
        metrics=metrics.WORKER,
        states=watchdog.states if settings.expose_state else None,
    )
    return app


def run_worker(settings: Settings) -> None:
    """Run a worker until it is told to stop; ends the process (status 0 after SIGTERM).

    Raises:
        TopicMismatchError: an existing topic has another number of partitions.
        BrokerUnavailableError: the broker cannot be reached.
    """
    asyncio.run(provision(settings, worker_changelogs(FoldSpec.of(settings).id, partitions=settings.partitions)))
    if settings.instance and asyncio.run(_runs_on_tansu(settings)):
        settings = settings.model_copy(update={"instance": ""})
    app = create_app(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    tune()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    faust.Worker(app, loglevel="INFO", quiet=True, loop=loop, redirect_stdouts=False, override_logging=True).execute_from_commandline()


def faust_settings(settings: Settings) -> dict[str, Any]:
    """What Faust is told: what it would do beside `stream.transport` is off, and the numbers have their reasons beside the constants."""
    given: dict[str, Any] = {
        "broker": [f"aiokafka://{address.strip()}" for address in settings.bootstrap.split(",")],
        "store": "memory://",
        "processing_guarantee": "at_least_once",
        "autodiscover": False,
        "web_enabled": False,
        "datadir": settings.data_dir / "faust",
        "topic_partitions": settings.partitions,
        "topic_replication_factor": settings.replication_factor,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        "broker_session_timeout": settings.session_timeout_s,
        "broker_heartbeat_interval": settings.session_timeout_s * HEARTBEAT_INTERVAL_SHARE,
        "broker_rebalance_timeout": max(30.0, settings.session_timeout_s),
        "broker_request_timeout": max(REQUEST_TIMEOUT_S, settings.session_timeout_s),
        "broker_commit_interval": 1.0,
        "stream_buffer_maxsize": CHUNKS_BUFFERED,
        "stream_wait_empty": True,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": max(FETCH_BYTES, settings.max_record_bytes + ENVELOPE_BYTES),
        "producer_acks": -1,
        "producer_linger": LINGER_S,
        "producer_max_batch_size": BATCH_BYTES,
        "producer_max_request_size": max(STATE_BYTES, settings.max_record_bytes) + ENVELOPE_BYTES,
        "producer_request_timeout": REQUEST_TIMEOUT_S,
    }
    if settings.instance:
        given["consumer_group_instance_id"] = settings.instance
    return given | ({"broker_credentials": _credentials(settings)} if settings.security_protocol != "PLAINTEXT" else {})


async def _runs_on_tansu(settings: Settings) -> bool:
    """Whether the broker is the embedded one. On Tansu 0.6 two static members evict each other for ever: a rebalance every
    session, and nothing folded in between; dynamic ones join once and stay.
    """
    admin = AIOKafkaAdminClient(**settings.client_options)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
    finally:
        await admin.close()
    return bool(cluster["cluster_id"] == EMBEDDED_CLUSTER_ID)


def _credentials(settings: Settings) -> Any:
    if not settings.security_protocol.startswith("SASL"):
        return faust.SSLCredentials(settings.ssl_context)
    return faust.SASLCredentials(
        username=settings.sasl_username, password=settings.sasl_password.get_secret_value(), ssl_context=settings.ssl_context, mechanism=settings.sasl_mechanism
    )


def _require_compiled_faust() -> None:
    if faust.streams._CStreamIterator is None:
        raise MissingExtraError(
            "Faust runs without its compiled stream iterator, but the pure-Python one acknowledges messages of an ended assignment;"
            " install a wheel of faust-streaming and leave NO_CYTHON unset"
        )


def _module(package: ModuleType, name: str) -> Any:
    try:
        return importlib.import_module(f"{package.__name__}.{name}")
    except ImportError as exc:
        raise MissingExtraError(
            f"{package.__name__}.{name} cannot be imported ({exc}), but a worker runs with all of its tables and agents; install eddy-loop[worker] anew"
        ) from exc


def _require_agents(app: WorkerApp, modules: Sequence[str]) -> None:
    registered = {agent.split(".")[-1] for agent in app.agents}
    if missing := [name for name in modules if name.replace("_", "-") not in registered]:
        raise SettingsError(f"the agents {missing} did not register, but a worker runs with all of them; their modules' register() must call app.agent")
