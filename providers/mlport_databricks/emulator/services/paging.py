"""Pages of a list, by a token that holds where the next one begins."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from mlport_databricks.emulator.protocol.api import Request
from mlport_databricks.emulator.protocol.errors import invalid

Json = dict[str, Any]
LARGEST = 1000


def page(field: str, found: Sequence[Json], request: Request, *, largest: int = LARGEST, size: str = "max_results") -> Json:
    """`{field: [...], "next_page_token": ...}` for the arguments `page_token` and `size` (0 stands for as many as may be).

    Raises:
        ApiError: a token that was not given out, or a negative number.
    """
    count = int(request.given(size, 0))
    if count < 0:
        raise invalid(f"{size} must not be negative, got {count}")
    start = _start(str(request.given("page_token", "")))
    end = start + min(count or largest, largest)
    token = {"next_page_token": base64.urlsafe_b64encode(str(end).encode()).decode()} if end < len(found) else {}
    return {field: list(found[start:end]), **token}


def _start(token: str) -> int:
    try:
        return int(base64.b64decode(token, altchars=b"-_", validate=True)) if token else 0
    except (binascii.Error, ValueError) as error:
        raise invalid("page_token is not one that was given out") from error
