"""One Apache Kafka broker for tests: fetched as ordinary Maven artifacts, one KRaft node on free loopback ports.

Its interface is that of `stream.broker.EmbeddedBroker`; unlike that one it keeps its log over `kill` and `start`.

    python -m tests.kafka.broker            fetch it, and say where the jars are
    python -m tests.kafka.broker DATA_DIR   run one until interrupted
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import shutil
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

from stream import leash
from stream.broker import HOST, PORTS, answers, free_port
from stream.errors import BrokerUnavailableError, MissingExtraError

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
CACHE = HERE.parents[1] / ".kafka"
READY_S = 60.0
"""It takes 3 to 4 s on two idle cores; recovery of an unclean log and a loaded machine take more."""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
log.dirs={logs}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=16777216
"""

FORCED_COMPACTION = """\
log.roll.ms=1000
log.segment.bytes=1048576
log.cleaner.backoff.ms=200
log.cleaner.min.cleanable.ratio=0.0
log.cleaner.max.compaction.lag.ms=2000
log.cleaner.delete.retention.ms=1000
"""
"""Segments of a second or a MiB (the least that Kafka 4 allows), which the cleaner looks through five times a second."""


class KafkaBroker:
    """An Apache Kafka in a folder of its own.

    Args:
        data_dir: holds its log, so that a killed one started again has what it had.
        port: the port to listen on; None is a free one, kept as long as this object.
        forced_compaction: keep the cleaner busy. A topic's own `min.compaction.lag.ms` still holds.
        properties: further lines of its configuration.
    """

    def __init__(self, data_dir: Path, port: int | None = None, *, forced_compaction: bool = False, properties: str = "") -> None:
        self.data_dir = Path(data_dir).resolve()
        self._port = port or free_port()
        self._controller_port = free_port()
        self._properties = (FORCED_COMPACTION if forced_compaction else "") + properties
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self._port}"

    @property
    def log_path(self) -> Path:
        return self.data_dir / "kafka.log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def resident_bytes(self) -> int:
        with suppress(psutil.NoSuchProcess):
            return int(psutil.Process(self.pid).memory_info().rss) if self.pid is not None else 0
        return 0

    @property
    def compactions(self) -> int:
        """How many logs the cleaner has cleaned since the data folder was made."""
        return self.log_path.read_text(errors="replace").count(" cleaned log ") if self.log_path.exists() else 0

    async def start(self) -> str:
        """Format the folder if it is new, start, and wait until the broker serves."""
        jars, blank = await asyncio.to_thread(fetch)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._format(blank)
        started_before = self._starts()
        with self.log_path.open("ab") as log:
            self._process = leash.start(java(jars, "-Xmx1g", "-Xms128m", "kafka.Kafka", str(self._config)), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + READY_S
        while self.pid is not None and time.monotonic() < deadline:
            if self._starts() > started_before and await answers(HOST, self._port):
                return self.bootstrap
            await asyncio.sleep(0.05)
        self.kill()
        raise BrokerUnavailableError(f"the Kafka on {self.bootstrap} ended or did not serve within {READY_S:g} s, but tests need it; read {self.log_path}")

    async def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), 30)
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    async def wait(self) -> int | None:
        process = self._process
        while process is not None and process.poll() is None:
            await asyncio.sleep(0.05)
        return process.returncode if process is not None else None

    @property
    def _config(self) -> Path:
        return self.data_dir / "server.properties"

    def _starts(self) -> int:
        return self.log_path.read_text(errors="replace").count("Kafka Server started") if self.log_path.exists() else 0

    def _format(self, blank: Path) -> None:
        logs = self.data_dir / "logs"
        self._config.write_text(PROPERTIES.format(host=HOST, port=self._port, controller_port=self._controller_port, logs=logs) + self._properties)
        if not logs.exists():
            shutil.copytree(blank, logs)


def fetch() -> tuple[Path, Path]:
    """Fetch the jars into the checkout's cache unless they are there.

    Returns:
        The folder of the jars, and a formatted, empty log folder to copy (the storage tool takes longer to start than the broker).

    Raises:
        MissingExtraError: java or Maven is not installed, or one of them fails.
    """
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise MissingExtraError(f"{program} is not installed, but Kafka is fetched by Maven and runs on Java 17; install Debian's packages default-jre-headless and maven")
    CACHE.mkdir(exist_ok=True)
    jars, blank, stamp = CACHE / "jars", CACHE / "blank", CACHE / "pom.xml"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_bytes() != POM.read_bytes():
            shutil.rmtree(jars, ignore_errors=True)
            shutil.rmtree(blank, ignore_errors=True)
            _tool("mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime")
            config = CACHE / "blank.properties"
            config.write_text(PROPERTIES.format(host=HOST, port=PORTS.start, controller_port=PORTS.stop, logs=blank))
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            _tool(*java(jars, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config)))
            shutil.copyfile(POM, stamp)
    return jars, blank


def java(jars: Path, *arguments: str) -> list[str]:
    """A command that runs one of Kafka's classes."""
    return ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", f"-Dlog4j2.configurationFile={HERE / 'log4j2.yaml'}", *arguments]


def _tool(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingExtraError(f"{command[0]} ended with {done.returncode}, but the tests on Kafka need what it does: {done.stdout[-1000:]}{done.stderr[-500:]}")


async def _run(data_dir: Path) -> None:
    broker = KafkaBroker(data_dir)
    print(await broker.start(), flush=True)
    await broker.wait()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with suppress(KeyboardInterrupt):
            asyncio.run(_run(Path(sys.argv[1])))
    else:
        print(fetch()[0])
