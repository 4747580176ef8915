"""Bugs of endpoints, one a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlport_sample.endpoints import SampleEndpoints

from mlport.errors import ConflictError
from mlport.spi import Answer, Json, Observation, Operation, Plan, Window


class MixesRows(SampleEndpoints):
    """The answers are in another order than the rows."""

    def predict(
        self, name: str, rows: Sequence[Json], *, deployment: str | None = None, request_id: str | None = None, timeout: float = 60.0
    ) -> Answer:
        rows = sorted(rows, key=str)
        return super().predict(name, rows, deployment=deployment, request_id=request_id, timeout=timeout)


class AnswersFromCache(SampleEndpoints):
    """As many rows as before get the answer from before."""

    _answers: Mapping[tuple[str, int, str | None], Answer] = {}

    def predict(
        self, name: str, rows: Sequence[Json], *, deployment: str | None = None, request_id: str | None = None, timeout: float = 60.0
    ) -> Answer:
        asked = (name, len(rows), deployment)
        if asked not in self._answers:
            answer = super().predict(name, rows, deployment=deployment, request_id=request_id, timeout=timeout)
            self._answers = {**self._answers, asked: answer}
        return self._answers[asked]


class AnyPrefixOpens(SampleEndpoints):
    """A key is good as far as it goes."""

    server = "mlport_sample_planted.serve"


class CountsDouble(SampleEndpoints):
    """Each request is counted when it comes and when it goes."""

    def observe(self, name: str, window: Window) -> Observation:
        seen = super().observe(name, window)
        return replace(seen, deployments=tuple(replace(one, requests=2 * one.requests) for one in seen.deployments))


class SplitSumsTo90(SampleEndpoints):
    """A tenth of the traffic is lost in the reckoning."""

    def set_traffic(self, name: str, split: Mapping[str, int], *, token: str, etag: str | None = None) -> Operation:
        return super().set_traffic(name, {one: share * 9 // 10 for one, share in split.items()}, token=token, etag=etag)


class EtagIgnored(SampleEndpoints):
    """The last writer of a split wins, whatever it had seen."""

    def set_traffic(self, name: str, split: Mapping[str, int], *, token: str, etag: str | None = None) -> Operation:
        return super().set_traffic(name, split, token=token)


class NewDeploymentServes(SampleEndpoints):
    """A deployment gets all traffic as soon as it is there."""

    def deploy(self, plan: Plan, *, token: str) -> Operation:
        made = super().deploy(plan, token=token)
        endpoint = plan.spec["endpoint"]
        self.set_traffic(endpoint, {one: 100 * (one == plan.name) for one in self.get(endpoint).split}, token=token)
        return made


class DeployingAgainConflicts(SampleEndpoints):
    """To deploy again under one token is refused, though it is the same deployment."""

    def deploy(self, plan: Plan, *, token: str) -> Operation:
        if plan.name in self.get(plan.spec["endpoint"]).split:
            raise ConflictError(f"there is a deployment {plan.name!r} already")
        return super().deploy(plan, token=token)
