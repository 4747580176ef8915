"""All-reduce over plain sockets: what `torch.distributed.all_reduce` does, for processes that have only NumPy.

The ranks form a star around rank 0: it sums what all send, in the order of ranks, so that every run adds up alike.
"""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Client, Connection, Listener

import numpy as np

JOIN_SECONDS = 60.0


class Group:
    """The processes of this job, met at MLPORT_MAIN_ADDRESS and MLPORT_MAIN_PORT."""

    def __init__(self) -> None:
        self.rank = int(os.environ["MLPORT_NODE_RANK"])
        self.size = int(os.environ["MLPORT_NUM_NODES"])
        address = (os.environ["MLPORT_MAIN_ADDRESS"], int(os.environ["MLPORT_MAIN_PORT"]))
        key = os.environ["MLPORT_JOB_ID"].encode()  # strangers on this machine do not join by accident
        self._others = _welcome(address, key, self.size - 1) if self.rank == 0 else []
        self._main = None if self.rank == 0 else _join(address, key, self.rank)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of everyone's `values`, the same bits on every rank."""
        if self._main is None:
            total = values.copy()
            for other in self._others:
                total += np.frombuffer(other.recv_bytes(), values.dtype).reshape(values.shape)
            return self._tell(total)
        self._main.send_bytes(np.ascontiguousarray(values).tobytes())
        return self._hear(values)

    def from_main(self, values: np.ndarray) -> np.ndarray:
        """Rank 0's `values`, on every rank."""
        return self._tell(values) if self._main is None else self._hear(values)

    def _tell(self, values: np.ndarray) -> np.ndarray:
        for other in self._others:
            other.send_bytes(np.ascontiguousarray(values).tobytes())
        return values

    def _hear(self, like: np.ndarray) -> np.ndarray:
        assert self._main is not None
        return np.frombuffer(self._main.recv_bytes(), like.dtype).reshape(like.shape).copy()


def _welcome(address: tuple[str, int], key: bytes, count: int) -> list[Connection]:
    with Listener(address, backlog=max(count, 1), authkey=key) as listener:
        joined = [listener.accept() for _ in range(count)]
    return [connection for _, connection in sorted(((connection.recv(), connection) for connection in joined), key=lambda pair: pair[0])]


def _join(address: tuple[str, int], key: bytes, rank: int) -> Connection:
    deadline = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            connection = Client(address, authkey=key)
            break
        except ConnectionRefusedError:  # rank 0 is not there yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    connection.send(rank)
    return connection
