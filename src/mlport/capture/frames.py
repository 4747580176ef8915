"""The form of a spool segment: frames of length, checksum and payload, so that a torn end is seen and skipped.

A segment starts with `MAGIC`. Each frame is `<length: u32><crc32: u32><payload>`. The first frame's payload is the
`Origin` as JSON, said once for all that follow; each later one is a `Frame`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import msgspec

MAGIC = b"MLPCAP1\n"
_FRAME = struct.Struct("<II")
_HEAD = struct.Struct("<qdHBBHHI")  # time, latency, status, form, caller known, lengths of id, caller id, body


class Form(IntEnum):
    """How a request's body is written."""

    ROWS = 0  # JSON of MLflow's scoring, or of `instances`
    TENSORS = 1  # JSON of the Open Inference Protocol
    CSV = 2
    OTHER = 3


class Frame(NamedTuple):
    """One request and its answer as they were on the wire.

    Attributes:
        time: When it was received, microseconds since 1970 in UTC.
        latency: Seconds from then until the answer was ready.
        form: Of the request, a `Form`.
        body: The request's.
        answer: The answer's.
    """

    request_id: str
    caller_id: str | None
    time: int
    latency: float
    status: int
    form: int
    body: bytes
    answer: bytes


class Column(msgspec.Struct, frozen=True):
    """A feature: its name and MLflow's type."""

    name: str
    kind: str


class Origin(msgspec.Struct, frozen=True):
    """What is the same for all frames of a segment."""

    endpoint: str
    deployment: str
    model: str
    model_version: str | None = None
    sampling_rate: float = 1.0
    columns: tuple[Column, ...] = ()
    version: int = 1


def seal(payload: bytes) -> bytes:
    """A frame of its payload."""
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def pack(frame: Frame) -> bytes:
    """A sealed frame of one exchange."""
    request_id, caller = frame.request_id.encode(), (frame.caller_id or "").encode()
    known = frame.caller_id is not None
    head = _HEAD.pack(frame.time, frame.latency, frame.status, frame.form, known, len(request_id), len(caller), len(frame.body))
    return seal(b"".join((head, request_id, caller, frame.body, frame.answer)))


def unpack(payload: bytes) -> Frame:
    """The exchange of a payload; the inverse of `pack` without its seal."""
    time, latency, status, form, known, id_bytes, caller_bytes, body_bytes = _HEAD.unpack_from(payload)
    request_id_end = _HEAD.size + id_bytes
    body_start = request_id_end + caller_bytes
    body_end = body_start + body_bytes
    caller = payload[request_id_end:body_start].decode() if known else None
    request_id = payload[_HEAD.size : request_id_end].decode()
    return Frame(request_id, caller, time, latency, status, form, payload[body_start:body_end], payload[body_end:])


class TornError(Exception):
    """A segment is damaged from `offset` on: a write that was cut short, or a disk that lies."""

    def __init__(self, offset: int, size: int) -> None:
        super().__init__(f"{size - offset} bytes from offset {offset} on are no whole frames")
        self.offset = offset


def payloads(data: bytes) -> Iterator[bytes]:
    """The payloads of a segment in order.

    Raises:
        TornError: after the last whole frame, when anything is left over.
    """
    view = memoryview(data)
    offset = len(MAGIC)
    if data[:offset] != MAGIC:
        raise TornError(0, len(data))
    while offset < len(data):
        start = offset + _FRAME.size
        if start > len(data):
            raise TornError(offset, len(data))
        length, checksum = _FRAME.unpack_from(data, offset)
        payload = bytes(view[start : start + length])
        if len(payload) < length or zlib.crc32(payload) != checksum:
            raise TornError(offset, len(data))
        yield payload
        offset = start + length
