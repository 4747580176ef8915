"""The engine of the unit tests, for those in which things die."""

from local_engine import client, engine, make_engine

__all__ = ["client", "engine", "make_engine"]
