"""A call's way through an emulator: the faults that befall it, and the work between them."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from mlport.emulation.calls import Call, Reply
from mlport.emulation.faults import Faults, of_effect
from mlport.emulation.spi import Running

log = logging.getLogger("mlport.emulation")


class ResetConnection(Exception):  # noqa: N818 - what is to be done, not what went wrong
    """Break the connection without an answer."""


class Answering:
    """Answers calls whatever they came by, HTTP or gRPC. Blocks while the emulator works."""

    def __init__(self, emulator: Running, faults: Faults) -> None:
        self.emulator, self.faults = emulator, faults
        self.asked = time.monotonic()

    def __call__(self, call: Call) -> Reply:
        """The reply. Raises ResetConnection."""
        self.asked = time.monotonic()
        befallen = self.faults.befall(call.method, call.path, call.host)
        if delay := of_effect(befallen, "delay"):
            time.sleep(delay.seconds)
        reply = None
        for when in ("before", "after"):
            if of_effect(befallen, "reset", when):
                raise ResetConnection
            if rule := of_effect(befallen, "error", when):
                return self.emulator.failure(call, rule.status)
            reply = reply or self._work(replace(call, befallen=befallen))
        assert reply is not None  # noqa: S101 - the loop has two rounds
        return reply

    def _work(self, call: Call) -> Reply:
        """What the emulator answers; a defect of its own is logged, and answered as a vendor words its own defects."""
        try:
            return self.emulator.answer(call)
        except Exception:
            log.exception("%s %s%s", call.method, call.host, call.path)
            return self.emulator.failure(call, 500)
