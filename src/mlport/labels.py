"""Labels: the truth about predictions, when it comes, in any order; kept by mlport itself on every provider.

One value of the profile's StateStore holds one call's labels; a later label for the same row replaces an earlier one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlport.errors import SpecError
from mlport.spi import StateStore, Window

if TYPE_CHECKING:
    import pyarrow as pa

_STAMP = "%Y%m%dT%H%M%S.%fZ"
LARGEST_CALL = 100_000


def put(store: StateStore, endpoint: str, labels: Iterable[tuple[str, Sequence[Any]]], now: datetime | None = None) -> int:
    """Store labels by request id, one value a row of that request; return how many values were stored.

    Raises:
        SpecError: a request id is empty, a value is not a number, text, boolean or None, or there are too many.
    """
    batch = [(_checked_id(request_id), [_checked(request_id, value) for value in values]) for request_id, values in labels]
    count = sum(len(values) for _, values in batch)
    if count > LARGEST_CALL:
        raise SpecError(f"labels: {count} values in one call, more than {LARGEST_CALL}", hint="label in several calls")
    if batch:
        stamp = (now or datetime.now(UTC)).strftime(_STAMP)
        store.put(f"labels/{endpoint}/{stamp}-{secrets.token_hex(4)}", json.dumps(batch).encode())
    return count


def read(store: StateStore, endpoint: str, window: Window | None = None) -> Iterator[tuple[str, int, Any, datetime]]:
    """Labels in the order they came: request id, row, value, and when it came; the window is over that time.

    A value of None says that a row's truth is not known yet, and replaces nothing.
    """
    prefix = f"labels/{endpoint}/"
    for key, stored in store.list(prefix):
        came = datetime.strptime(key.removeprefix(prefix).rpartition("-")[0], _STAMP).replace(tzinfo=UTC)
        if window is None or window.start <= came < window.end:
            for request_id, values in json.loads(stored.value):
                yield from ((request_id, row, value, came) for row, value in enumerate(values) if value is not None)


def join(captured: pa.Table, labels: Iterable[tuple[str, int, Any, datetime]]) -> pa.Table:
    """`captured` with the columns `label` (null where none came) and `labelled_at`, joined by (request id, row).

    A request is known by the provider's id and, where the source carries it, the caller's.
    """
    import pyarrow as pa

    latest = {(request_id, row): (value, came) for request_id, row, value, came in labels}
    if len(kinds := {_kind(value) for value, _ in latest.values() if value is not None}) > 1:
        raise SpecError(f"labels: of several kinds: {', '.join(sorted(kinds))}", hint="one column has one kind: label the odd ones again")
    ids = zip(captured["provider_id"].to_pylist(), captured["caller_id"].to_pylist(), captured["row"].to_pylist(), strict=True)
    found = [latest.get((provider, row)) or latest.get((caller, row)) or (None, None) for provider, caller, row in ids]
    return captured.append_column("label", pa.array([value for value, _ in found])).append_column(
        "labelled_at", pa.array([came for _, came in found], pa.timestamp("us", "UTC"))
    )


def _kind(value: Any) -> str:
    return "truth value" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


def _checked_id(request_id: str) -> str:
    if not isinstance(request_id, str) or not request_id:
        raise SpecError(f"labels: the request id {request_id!r} must be a text, as `predict` returned it")
    return request_id


def _checked(request_id: str, value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    if plain is not None and not isinstance(plain, bool | int | float | str):
        raise SpecError(
            f"labels: {value!r} of request {request_id} is a {type(value).__name__}",
            hint="give a number, text, boolean or None for each row",
        )
    return plain
