"""Processes: who they are for certain, how they are started to outlive us, and how all of a job are found and ended."""

from mlport_local.engine.process.ending import end_all, everyone, members
from mlport_local.engine.process.identity import LINUX, LOOK_AGAIN, Identity, Seen, alive, boot_id, identify, look, me, send, wait_any
from mlport_local.engine.process.marks import DETACHED, FOLDER, brand, environment_of, unbrand
from mlport_local.engine.process.starting import DEFAULTED, HANDED_OVER, start_detached

__all__ = [
    "DEFAULTED",
    "DETACHED",
    "FOLDER",
    "HANDED_OVER",
    "LINUX",
    "LOOK_AGAIN",
    "Identity",
    "Seen",
    "alive",
    "boot_id",
    "brand",
    "end_all",
    "environment_of",
    "everyone",
    "identify",
    "look",
    "me",
    "members",
    "send",
    "start_detached",
    "unbrand",
    "wait_any",
]
