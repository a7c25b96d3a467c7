"""Receives a broker's answers into one buffer a connection: overrides how aiokafka's connections read.

aiokafka reads through asyncio's streams: every 256 KiB of an answer become an object, are copied to the end of a buffer that grows, and
wake a task that finds the answer incomplete; the whole is then copied out. Here the socket writes where the answer is to stand, in a
buffer that is used again, and the task wakes once an answer. Fetches are some megabytes, so that this takes a third of the time.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import Any

from aiokafka import conn

_LENGTH = struct.Struct(">i")
_SMALL_BYTES = 1 << 16
"""The buffer at first; answers to all but fetches fit."""


class Frames(asyncio.BufferedProtocol):
    """Cuts what a connection receives into frames, as Kafka sends them: four bytes of length, then as many bytes.

    Args:
        stream: aiokafka's protocol, which goes on being told all but what is received.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._buffer = bytearray(_SMALL_BYTES)
        self._filled = 0
        self._frames: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go; there is always room, since a frame that has begun has all of its own."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of bytes received."""
        self._filled += nbytes
        begin = 0
        with memoryview(self._buffer) as received:
            while (end := self._end_of_frame(received, begin)) <= self._filled:
                self._frames.append(bytes(received[begin + _LENGTH.size : end]))
                begin = end
        self._make_room(begin, end - begin)
        if begin:
            self._wake()

    def _end_of_frame(self, received: memoryview, begin: int) -> int:
        """Where a frame ends, as far as is known: its length comes first."""
        end = begin + _LENGTH.size
        return end if end > self._filled else end + max(0, _LENGTH.unpack_from(received, begin)[0])

    def _make_room(self, begin: int, size: int) -> None:
        """Move the rest, a frame's first part, to the front of a buffer that holds the whole frame and at least a byte more."""
        rest = self._filled - begin
        if size >= len(self._buffer):
            grown = bytearray(size + 1)  # not the old one made longer: the transport may still look into that
            grown[:rest] = memoryview(self._buffer)[begin : self._filled]
            self._buffer = grown
        elif begin and rest:
            self._buffer[:rest] = self._buffer[begin : self._filled]
        self._filled = rest

    async def next(self) -> bytes:
        """Wait for a frame.

        Raises:
            asyncio.IncompleteReadError: the connection ended before one was complete.
        """
        while not self._frames:
            if self._is_over:
                raise asyncio.IncompleteReadError(b"", None)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._frames.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def eof_received(self) -> bool | None:
        """Let the reader know that nothing more comes."""
        self._is_over = True
        self._wake()
        return self._stream.eof_received()  # type: ignore[no-any-return]

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the reader and aiokafka know that the connection is gone."""
        self._is_over = True
        self._wake()
        self._stream.connection_lost(exc)

    def pause_writing(self) -> None:
        """Let writers wait."""
        self._stream.pause_writing()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._stream.resume_writing()


class FramedConnection(conn.AIOKafkaConnection):  # type: ignore[misc]  # aiokafka is not typed
    """A connection whose answers come as frames."""

    _frames: Frames

    def _create_reader_task(self) -> Any:
        """Take the transport over; it has just been opened, and nothing was asked yet."""
        transport = self._writer.transport
        self._frames = Frames(self._protocol)
        transport.pause_reading()
        transport.set_protocol(self._frames)
        transport.resume_reading()
        return super()._create_reader_task()

    @staticmethod
    async def _read(self_ref: Any) -> None:
        """Hand frames on until the connection ends or nobody holds it any more."""
        if (self := self_ref()) is None:
            return
        frames = self._frames
        del self
        while True:
            frame = await frames.next()
            if (self := self_ref()) is None:
                return
            self._handle_frame(frame)
            del self, frame  # while it waits, it holds neither


def receive_by_frame() -> None:
    """Have every connection that aiokafka opens in this process from now on receive so."""
    conn.AIOKafkaConnection = FramedConnection
