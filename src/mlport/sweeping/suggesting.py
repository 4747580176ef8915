"""What to try next: a function of the spec, the seed and the trials so far, so that a sweep can be taken up by anyone."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from mlport.errors import MissingExtraError
from mlport.specs import Dimension, Range, SweepSpec
from mlport.spi import Trial, TrialState
from mlport.sweeping.space import Params, draw, grid, same

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

DRAWS = 50  # of a random point, before one that is left is looked for in order
COUNTED = 100_000  # points of a space that is gone through in order; in a larger one chance finds what is left


def suggest(spec: SweepSpec, seed: int, trials: Sequence[Trial]) -> Params:
    """Parameters that no trial has had, for the next one. Raises StopIteration when there are none left."""
    tried = {same(trial.params) for trial in trials}
    return next(point for point in _candidates(spec, seed, trials) if same(point) not in tried)


def require(spec: SweepSpec) -> None:
    """Refuse a search whose package is missing. Raises MissingExtraError."""
    if spec.algorithm == "bayesian" and importlib.util.find_spec("optuna") is None:
        raise MissingExtraError(
            "a bayesian search needs Optuna, which is not installed", hint="pip install 'mlport[local]', or take algorithm = 'random'"
        )


def _candidates(spec: SweepSpec, seed: int, trials: Sequence[Trial]) -> Iterator[Params]:
    if spec.algorithm == "bayesian":
        yield _promising(spec, seed, trials)
    if spec.algorithm != "grid":
        chance = Random(f"{seed}/{len(trials)}")  # noqa: S311 - a search, not a secret
        yield from (draw(spec.space, chance) for _ in range(DRAWS))
    if spec.algorithm == "grid" or (spec.size is not None and spec.size <= COUNTED):
        yield from grid(spec.space)
    else:
        yield from (draw(spec.space, chance) for _ in itertools.count())


def _promising(spec: SweepSpec, seed: int, trials: Sequence[Trial]) -> Params:
    """What Optuna's TPE would try, in a study that is told all trials anew; those under way count as poor, so that it looks elsewhere."""
    import optuna

    shown = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        sampler = optuna.samplers.TPESampler(seed=(seed + len(trials)) % 2**32, n_startup_trials=min(10, max(4, spec.trials // 4)))
        study = optuna.create_study(sampler=sampler, direction=spec.direction)
        where = {name: _distribution(each) for name, each in spec.space.items()}
        study.add_trials([told for trial in trials if (told := _told(spec, trial, where)) is not None])
        found = study.ask(where).params
    finally:
        optuna.logging.set_verbosity(shown)
    return {name: _from_optuna(each, found[name]) for name, each in spec.space.items()}


def _told(spec: SweepSpec, trial: Trial, where: Mapping[str, BaseDistribution]) -> FrozenTrial | None:
    """A trial as Optuna knows it; one that failed teaches nothing."""
    from optuna.trial import TrialState as Theirs
    from optuna.trial import create_trial

    states = {TrialState.RUNNING: Theirs.RUNNING, TrialState.SUCCEEDED: Theirs.COMPLETE, TrialState.PRUNED: Theirs.PRUNED}
    if trial.state not in states:
        return None
    return create_trial(
        state=states[trial.state],
        params={name: _to_optuna(each, trial.params[name]) for name, each in spec.space.items()},
        distributions=dict(where),
        value=trial.value if trial.state is TrialState.SUCCEEDED else None,
        intermediate_values=dict(trial.curve),
    )


def _distribution(each: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(each, Range):
        return CategoricalDistribution(range(len(each)))  # by place: to Optuna 1 and True are one value
    last: Any = each.high if each.size is None else each.at(each.size - 1)
    kind: Any = IntDistribution if each.whole else FloatDistribution
    steps: dict[str, Any] = {"step": each.step} if each.step is not None else {}
    found: BaseDistribution = kind(each.low, last, log=each.log, **steps)
    return found


def _to_optuna(each: Dimension, value: Any) -> Any:
    return value if isinstance(each, Range) else [repr(choice) for choice in each].index(repr(value))


def _from_optuna(each: Dimension, value: Any) -> Any:
    if not isinstance(each, Range):
        return each[value]
    return value if each.size is None or each.log else each.at(round((value - each.low) / (each.step or 1)))
