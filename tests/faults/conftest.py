"""The engine of the unit tests, for those in which things die."""

from aids.local.engine import client, engine, make_engine

__all__ = ["client", "engine", "make_engine"]
