"""Clients of an emulated account: what the fixtures `account` of the providers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mlport
from mlport.spi import Provider

ROWS = [{"x0": -2.0, "x1": 0.0}, {"x1": 0.0, "x0": 2.0}]
TRUTH = [0, 1]
Account = Callable[..., mlport.Client]


def accounts(provider: Provider, target: str) -> Iterator[Account]:
    """Opens clients of the target, `account(transport="grpc")`, for a fixture; the endpoints that are left are removed."""
    opened: list[mlport.Client] = []

    def make(**fields: Any) -> mlport.Client:
        opened.append(mlport.Client(provider, provider.config.from_url(target).model_copy(update=fields)))
        return opened[-1]

    yield make
    with make() as client:
        for record in list(client.endpoints.list()):
            client.endpoints.delete(record.name)
    for client in opened[:-1]:
        client.close()
