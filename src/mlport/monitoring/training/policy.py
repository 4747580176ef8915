"""Whether to train again now: a function of the policy, the readings and the time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mlport.monitoring.records import Decay, Reading, Retraining
from mlport.monitoring.specs import RetrainPolicy
from mlport.monitoring.windows import clocked
from mlport.spi import Window

Trigger = Literal["drift", "decay", "schedule", "new rows", "asked for"]
LABELLED: frozenset[Decay] = frozenset(("decayed", "steady", "undecided", "no reference"))
"""Of which enough labels came to judge by."""
MOST_CAUSES = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """That a training is wanted, why, and by which windows' readings."""

    trigger: Trigger
    why: str
    causes: tuple[str, ...] = ()


def wish(policy: RetrainPolicy, readings: Sequence[Reading], last: Retraining | None, since: datetime, now: datetime) -> Wish | None:
    """Why to train now, None if there is no reason to.

    What a training was begun for is no reason for the next: drift counts that was read later, decay and new rows of windows that are
    later than those by which its challenger was judged.

    Args:
        readings: newest first.
        last: the last retraining, however it ended.
        since: the last instant of the policy's schedule that was dealt with.
    """
    if last is not None and (not last.over or now - last.decided < policy.cooldown):
        return None
    fresh = [each for each in readings if last is None or each.at > last.decided]
    drifted = [each for each in fresh if each.drift == "drift"]
    if policy.on_drift and drifted and fresh[0].lasting == "drift":
        named = ", ".join(each.name for each in drifted[0].drifted[:5])
        return Wish("drift", f"drift lasts: {named or drifted[0].words}", _causes(drifted))
    known = [each for each in readings if each.decay in LABELLED and _is_new(each, last)]
    if policy.on_decay and known and known[0].decay == "decayed":
        judged = known[0].performance
        why = f"{judged.metric} {judged.value:.3g}: {judged.why}" if judged and judged.value is not None else "performance decayed"
        return Wish("decay", why, _causes([each for each in known if each.decay == "decayed"]))
    if policy.schedule is not None and (at := clocked(policy.schedule, policy.time_zone, since)) and at <= now:
        return Wish("schedule", f"its schedule says so: {at.isoformat()}")
    if policy.new_rows is not None and (rows := new_rows(readings, last)) >= policy.new_rows:
        return Wish("new rows", f"{rows:,} labelled rows since the last training")
    return None


def new_rows(readings: Sequence[Reading], last: Retraining | None) -> int:
    """Labelled rows of windows that came since the last training."""
    return sum(each.performance.labelled for each in readings if each.performance and _is_new(each, last))


def _is_new(reading: Reading, last: Retraining | None) -> bool:
    """Whether labels of a window came since the last training was decided on, and are not those that it held out."""
    if last is None or reading.performance is None:
        return last is None
    nothing_held_out = last.held_out.start == last.held_out.end
    return reading.performance.at > last.decided and (nothing_held_out or reading.window.end > last.held_out.end)


def held_out(policy: RetrainPolicy, readings: Sequence[Reading]) -> Window | None:
    """The newest labelled rows, by which a challenger is judged; None where no window has labels enough."""
    newest = next((each for each in readings if each.decay in LABELLED), None)
    if newest is None:
        return None
    return Window(newest.window.end - policy.holdout if policy.holdout else newest.window.start, newest.window.end)


def _causes(readings: Sequence[Reading]) -> tuple[str, ...]:
    return tuple(each.window.start.isoformat() for each in readings[:MOST_CAUSES])
