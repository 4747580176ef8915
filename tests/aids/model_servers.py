"""Model servers of an emulator that dies while it begins one: what the fault tests of the providers share."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from aids.process import Emulated

from mlport.waiting import wait_until

T = TypeVar("T")
SECONDS = 90.0


def ready_unnoted(emulated: Emulated, kind: str, folder: str, ask: Callable[[], T]) -> T | None:
    """The answer, if there was one, of what makes the emulator begin a server, the first of its kind.

    It dies when the server is begun and that is not noted, is away until the server answers, and comes back.
    """
    answer, files = None, emulated.folder / emulated.provider / folder
    emulated.die_at(f"before-{kind} 2")  # the first says that it is wanted
    with suppress(OSError):
        answer = ask()
    wait_until(lambda: emulated.is_dead, bool, timeout=SECONDS, what="its death")
    wait_until(
        lambda: [json.loads(each.read_text()).get("ready") for each in files.glob("*/state.json")], any, timeout=SECONDS, what="the server"
    )
    emulated.start()
    return answer
