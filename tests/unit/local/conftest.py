"""The local provider's tests share one engine fixture with the fault tests."""

from aids.local.engine import Engine, client, engine, make_engine

__all__ = ["Engine", "client", "engine", "make_engine"]
