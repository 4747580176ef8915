"""Waiting for a long mutation, from whichever process holds its handle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlport.errors import ProviderError
from mlport.spi import Operation, OperationStatus, State
from mlport.waiting import delays, wait_until

if TYPE_CHECKING:
    from mlport.client import Client


def finish(
    client: Client,
    operation: Operation,
    *,
    timeout: float | None = None,
    on_look: Callable[[OperationStatus], None] | None = None,
) -> OperationStatus:
    """Wait until the operation has ended well.

    Raises:
        ProviderError: it ended otherwise; the message is the provider's reason.
        DeadlineError: `timeout` seconds passed; it goes on.
    """
    status = wait_until(
        lambda: client.session.operations.advance(operation.id),
        lambda seen: seen.state.terminal,
        pauses=delays(first=0.01, ceiling=2.0),
        timeout=timeout,
        what=f"{operation.kind} of {operation.target}",
        on_look=on_look,
    )
    if status.state is not State.SUCCEEDED:
        raise ProviderError(
            f"{operation.kind} of {operation.target} ended {status.state}: {status.reason or status.native_state}",
            provider=client.provider.name,
            operation=operation.kind,
            native_code=status.native_state,
        )
    return status
