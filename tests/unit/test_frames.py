"""A broker's answers arrive whole and in order, however the network cuts them up, and the end of a connection is noticed."""

from __future__ import annotations

import asyncio
import random
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from stream.frames import FramedConnection, Frames, receive_by_frame

SIZES = [0, 1, 4, 5, 1_000, 65_531, 65_532, 65_533, 65_536, 70_000, 300_000, 3, 0, 2_000_000, 17]
VERSIONS = struct.pack(">hi", 0, 1) + struct.pack(">hhh", 18, 0, 0)
"""An answer that knows only requests for versions."""


def framed(contents: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack(">i", len(content)) + content for content in contents)


def contents_of(sizes: Iterable[int]) -> list[bytes]:
    rng = random.Random(1)
    return [rng.randbytes(size) for size in sizes]


def receive(frames: Frames, sent: bytes, next_bytes: Callable[[], int]) -> None:
    """Fill the buffer as a transport does, some bytes at a time."""
    at = 0
    while at < len(sent):
        room = frames.get_buffer(-1)
        count = min(len(room), max(1, next_bytes()), len(sent) - at)
        assert count > 0
        room[:count] = sent[at : at + count]
        frames.buffer_updated(count)  # the transport may still hold its view
        room.release()
        at += count


def stream() -> Any:
    told: list[Any] = []
    return SimpleNamespace(told=told, eof_received=lambda: told.append("eof"), connection_lost=told.append)


@pytest.mark.parametrize("seed", range(6))
async def test_frames_are_those_that_were_sent(seed: int) -> None:
    """Single bytes, pieces that end anywhere in a length or a frame, and many frames at once."""
    rng = random.Random(seed)
    contents = contents_of(rng.sample(SIZES, len(SIZES)) if seed else SIZES)
    most = (1 << 22, 1 << 17, 1 << 16, 5_000, 4_099, 1 << 22)[seed]
    frames = Frames(stream())

    receive(frames, framed(contents), lambda: rng.randrange(1, most))

    assert [await frames.next() for _ in contents] == contents


async def test_frames_sent_byte_by_byte_arrive() -> None:
    """The length itself may be cut."""
    contents = contents_of([0, 1, 2, 3, 500])
    frames = Frames(stream())

    receive(frames, framed(contents), lambda: 1)

    assert [await frames.next() for _ in contents] == contents


@pytest.mark.parametrize("end", [lambda frames: frames.eof_received(), lambda frames: frames.connection_lost(None)], ids=["eof", "lost"])
async def test_end_is_told_to_who_waits_after_the_last_frame(end: Callable[[Frames], object]) -> None:
    """What came before the end is still handed out; then whoever waits, and whoever asks later, is told."""
    inner = stream()
    frames = Frames(inner)
    receive(frames, framed([b"last"])[:-1], lambda: 100)
    waiting = asyncio.create_task(frames.next())
    await asyncio.sleep(0)
    receive(frames, b"t" + b"\0\0", lambda: 100)
    end(frames)

    assert await waiting == b"last"
    for _ in range(2):
        with pytest.raises(asyncio.IncompleteReadError):
            await frames.next()
    assert len(inner.told) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that is its own authority, with its key."""
    both = tmp_path_factory.mktemp("tls") / "both.pem"
    made = ["-keyout", both, "-out", both.with_name("certificate.pem"), "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *map(str, made)], check=True, capture_output=True)
    both.write_text(both.read_text() + both.with_name("certificate.pem").read_text())
    return both


class SpokenTo:
    """A server that answers each request with the next of its answers, and then hangs up."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in self.answers:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            correlation = (await reader.readexactly(size))[4:8]
            writer.write(framed([correlation + answer]))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def server(answers: list[bytes], certificate: Path | None) -> AsyncIterator[dict[str, Any]]:
    options: dict[str, Any] = {}
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        options = {"security_protocol": "SSL", "ssl_context": ssl.create_default_context(cafile=certificate)}
    listening = await asyncio.start_server(SpokenTo(answers).serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield {"host": "127.0.0.1", "port": listening.sockets[0].getsockname()[1], **options}


async def ask_until_it_hangs_up(address: dict[str, Any]) -> list[int]:
    """How many versions each answer tells of; the connection is then known to be gone."""
    connection = await conn.create_conn(**address)
    told = [len((await connection.send(ApiVersionRequest())).api_versions) for _ in range(2)]
    with pytest.raises(KafkaConnectionError):
        await connection.send(ApiVersionRequest())
    assert not connection.connected()
    await connection.close()
    return told


def many_versions(count: int) -> bytes:
    return struct.pack(">hi", 0, count) + struct.pack(">hhh", 18, 0, 0) * count


@pytest.mark.parametrize("loop_maker", ["asyncio", "uvloop"])
@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
def test_connection_receives_by_frames(is_secure: bool, loop_maker: str, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On both event loops, with and without TLS: small answers, one of some megabytes, and the end, which fails what was asked."""
    monkeypatch.setattr(conn, "AIOKafkaConnection", conn.AIOKafkaConnection)
    receive_by_frame()
    assert conn.AIOKafkaConnection is FramedConnection

    async def talk() -> list[int]:
        async with server([VERSIONS, many_versions(500_000), VERSIONS], certificate if is_secure else None) as address:
            return await asyncio.wait_for(ask_until_it_hangs_up(address), 60)

    with asyncio.Runner(loop_factory=pytest.importorskip(loop_maker).new_event_loop) as runner:
        assert runner.run(talk()) == [500_000, 1]
