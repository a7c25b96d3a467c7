"""Makes the log of an embedded broker before any client can write to it.

Tansu 0.6 takes records for a topic that it does not have: a client that knows the topic from the broker's life before writes at once.
When the topic is made after that, its offsets begin at 0 again, over those records: what follows is given offsets that are taken,
and no reader gets all of it. So the topic is the first thing that a new broker is asked for, on the first connection that it
takes, while clients still have to ask which versions it speaks.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Any

from stream.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from stream.provision import TopicPlan

CONNECT_EVERY_S = 0.0005
TIMEOUT_MS = 5_000
_LATEST = -1


async def is_made_first(host: str, port: int, topic: TopicPlan, *, within_s: float) -> bool:
    """Create a topic as soon as a broker listens, and tell whether nobody has written to it before, or since.

    Both are asked for in one go: whether somebody was quicker is known only to a broker that has made the topic.

    Raises:
        BrokerUnavailableError: it does not listen, or does not answer, within `within_s`, or does not make the topic.
    """
    from aiokafka.protocol.admin import CreateTopicsRequest_v1
    from aiokafka.protocol.offset import OffsetRequest_v1

    creation = CreateTopicsRequest_v1([(topic.name, topic.partitions, 1, [], list(topic.config.items()))], TIMEOUT_MS, False)
    ends = OffsetRequest_v1(-1, [(topic.name, [(number, _LATEST) for number in range(topic.partitions)])])
    try:
        async with asyncio.timeout(within_s):
            created, ended = await _asked(host, port, [creation, ends])
    except (OSError, EOFError, TimeoutError) as exc:
        raise BrokerUnavailableError(f"the embedded broker on {host}:{port} did not make {topic.name} within {within_s:g} s ({exc!r}); see its log") from exc
    codes = [code for _, code, _ in created.topic_errors]
    if codes != [0]:
        raise BrokerUnavailableError(f"the embedded broker on {host}:{port} refuses to make {topic.name} (error {codes}), but it is empty; see its log")
    return not any(offset for _, partitions in ended.topics for _, _, _, offset in partitions)


async def _asked(host: str, port: int, requests: list[Any]) -> list[Any]:
    reader, writer = await _connected(host, port)
    try:
        writer.write(b"".join(_framed(request, number) for number, request in enumerate(requests)))
        return [await _answer(reader, request) for request in requests]
    finally:
        writer.close()


async def _connected(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    began_s = time.monotonic()
    while True:
        try:
            return await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(CONNECT_EVERY_S if time.monotonic() - began_s < 1 else 20 * CONNECT_EVERY_S)


def _framed(request: Any, number: int) -> bytes:
    body = request.build_request_header(correlation_id=number, client_id="eddy").encode() + request.encode()
    return struct.pack(">i", len(body)) + bytes(body)


async def _answer(reader: asyncio.StreamReader, request: Any) -> Any:
    size = struct.unpack(">i", await reader.readexactly(4))[0]
    return request.RESPONSE_TYPE.decode((await reader.readexactly(size))[4:])
