"""Faults on demand: answers that fail, connections that break before or after the work was done, delays, and more.

A file of rules, TOML or JSON, read by `mlport emulate --faults FILE`:

    seed = 7                            # makes chance repeatable

    [[fault]]
    match = "POST */customJobs"         # method and path, with * and ?; the default matches every call
    host = "*-aiplatform.example"       # the host asked for; the default matches every host
    effect = "error"                    # see below
    status = 503                        # of "error"
    when = "after"                      # of "error" and "reset": before the work is done (the default), or after
    seconds = 0.5                       # of "delay", and of what the emulator itself knows, such as "lag"
    probability = 0.2                   # of each call that matches; 1 if not given
    skip = 2                            # so many matching calls are left alone first
    times = 5                           # and after so many faults the rule is spent

Effects: `error` answers with `status` as the vendor words it; `reset` breaks the connection; `delay` waits first. An
emulator adds effects of its own, and refuses those that it does not know.
"""

from __future__ import annotations

import json
import random
import threading
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlport.errors import ConfigError
from mlport.fields import describe_problems

COMMON = ("error", "reset", "delay")


class Rule(BaseModel):
    """One fault and which calls it befalls."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    match: str = "*"
    host: str = "*"
    effect: str
    status: int = Field(503, ge=400, le=599)
    when: Literal["before", "after"] = "before"
    seconds: float = Field(1.0, ge=0)
    probability: float = Field(1.0, gt=0, le=1)
    skip: int = Field(0, ge=0)
    times: int | None = Field(None, ge=1)


class FaultFile(BaseModel):
    """The whole of a faults file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: int = 0
    fault: tuple[Rule, ...] = ()

    @classmethod
    def read(cls, path: Path) -> FaultFile:
        """Parse and validate. Raises ConfigError that names file, field and what would be right."""
        try:
            text = path.read_text(encoding="utf-8")
            return cls.model_validate(json.loads(text) if path.suffix == ".json" else tomllib.loads(text))
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: no such file") from error
        except ValidationError as error:
            raise ConfigError(f"{path}: {describe_problems(error, cls)}") from error
        except ValueError as error:  # of the JSON, the TOML or the encoding
            raise ConfigError(f"{path}: {error}") from error


@dataclass(slots=True)
class _Counted:
    rule: Rule
    matched: int = 0
    done: int = 0


class Faults:
    """The rules in force. Each call is held against them once, at its start."""

    def __init__(self, file: FaultFile | None = None, *, known: Iterable[str] = ()) -> None:
        self._known = (*COMMON, *known)
        self._lock = threading.Lock()
        self.load(file or FaultFile())

    def load(self, file: FaultFile) -> None:
        """Take these rules in the place of those before. Raises ConfigError for an effect that the emulator does not have."""
        for rule in file.fault:
            if rule.effect not in self._known:
                raise ConfigError(f"fault.effect: {rule.effect!r} is unknown", hint=f"this emulator knows {', '.join(self._known)}")
        with self._lock:
            self._random = random.Random(file.seed)  # noqa: S311 - chance that must be repeatable
            self._rules = [_Counted(rule) for rule in file.fault]

    def told(self) -> list[dict[str, Any]]:
        """The rules in force, each with how many calls it matched (`matched`) and how often it struck (`done`)."""
        with self._lock:
            return [{**counted.rule.model_dump(), "matched": counted.matched, "done": counted.done} for counted in self._rules]

    def befall(self, method: str, path: str, host: str = "") -> Sequence[Rule]:
        """The faults of one call."""
        with self._lock:
            return tuple(counted.rule for counted in self._rules if self._strikes(counted, f"{method} {path}", host))

    def _strikes(self, counted: _Counted, call: str, host: str) -> bool:
        rule = counted.rule
        if not (fnmatchcase(call, rule.match) and fnmatchcase(host, rule.host)):
            return False
        counted.matched += 1
        if counted.matched <= rule.skip or (rule.times is not None and counted.done >= rule.times):
            return False
        if self._random.random() >= rule.probability:
            return False
        counted.done += 1
        return True


def of_effect(faults: Iterable[Rule], effect: str, when: str | None = None) -> Rule | None:
    """The first with this effect, and at that time if one is given."""
    return next((rule for rule in faults if rule.effect == effect and when in (None, rule.when)), None)
