"""TFRecord files: `length (uint64) | crc (uint32) | content | crc (uint32)`, little-endian.

A checksum is CRC32C, masked as TensorFlow does it: https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

import google_crc32c

LENGTH, CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
LONGEST = 1 << 30  # bytes; TensorFlow's own messages end there


class BrokenError(Exception):
    """A file that is no TFRecord file, or is cut off."""


def records(stream: IO[bytes]) -> Iterator[bytes]:
    """The contents, one after the other.

    Raises:
        BrokenError: a checksum is wrong, or the file ends within a record.
    """
    while head := stream.read(LENGTH.size):
        at = _checked(head, stream, LENGTH.size, "length")
        (length,) = LENGTH.unpack(at)
        if length > LONGEST:
            raise BrokenError(f"a record of {length} bytes is too long")
        yield _checked(stream.read(length), stream, length, "content")


def _checked(content: bytes, stream: IO[bytes], length: int, part: str) -> bytes:
    checksum = stream.read(CHECKSUM.size)
    if len(content) < length or len(checksum) < CHECKSUM.size:
        raise BrokenError("truncated record")
    if CHECKSUM.unpack(checksum)[0] != masked(content):
        raise BrokenError(f"corrupted record: the checksum of its {part} is wrong")
    return content


def masked(content: bytes) -> int:
    """The masked CRC32C of some bytes."""
    crc = int(google_crc32c.value(content))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(content: bytes) -> bytes:
    """One content as it lies in a file.

    >>> import io
    >>> list(records(io.BytesIO(record(b"a") + record(b""))))
    [b'a', b'']
    """
    length = LENGTH.pack(len(content))
    return length + CHECKSUM.pack(masked(length)) + content + CHECKSUM.pack(masked(content))
