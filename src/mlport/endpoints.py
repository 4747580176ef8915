"""Endpoints: deploy versions behind one address, split the traffic, predict, label, read back what passed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, overload

from mlport import labels
from mlport.capabilities import Capability
from mlport.errors import ConflictError, NotFoundError, ProviderError, SpecError
from mlport.journal import token_for
from mlport.operations import finish
from mlport.paging import each
from mlport.rows import records
from mlport.spi import Answer, DeploymentRecord, EndpointRecord, EndpointState, Facts, Observation, Operation, Plan, Query, Window
from mlport.traffic import check_split
from mlport.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from mlport.client import Client
    from mlport.jobs import Job
    from mlport.models import ModelVersion
    from mlport.specs import DeploymentSpec, EndpointSpec
    from mlport.spi import OperationStatus

    Progress = Callable[[OperationStatus], None]

ALL_TIME = Window(datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
DEPLOY_SECONDS = 3600.0


class Prediction(Sequence[Any]):
    """The answers in the order of the rows. `request_id` is what to label them by."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._answer.predictions[index]

    def __len__(self) -> int:
        return len(self._answer.predictions)

    def __repr__(self) -> str:
        return f"<mlport.Prediction {list(self)!r} request_id={self.request_id!r} deployment={self.deployment!r}>"

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.request_id)

    @property
    def request_id(self) -> str:
        return self._answer.request_id

    @property
    def deployment(self) -> str | None:
        return self._answer.deployment

    @property
    def version(self) -> str | None:
        return self._answer.version


@dataclass(frozen=True)
class Endpoint:
    """An endpoint that exists. `record` asks the provider anew at each look."""

    name: str
    client: Client

    def __repr__(self) -> str:
        return f"<mlport.Endpoint {self.name}>"

    @property
    def record(self) -> EndpointRecord:
        """State, split and deployments as they are now. Raises NotFoundError."""
        return self.client.session.endpoints.get(self.name)

    @property
    def state(self) -> EndpointState:
        return self.record.state

    @property
    def url(self) -> str:
        """The base address, which stays the same."""
        return self.record.url

    @property
    def headers(self) -> Mapping[str, str]:
        """What a caller must send, the key included: keep it secret."""
        return self.client.session.endpoints.headers(self.name)

    @property
    def split(self) -> dict[str, int]:
        """Integer percent by deployment name."""
        return self.record.split

    @property
    def deployments(self) -> tuple[DeploymentRecord, ...]:
        return self.record.deployments

    def predict(self, rows: Any, *, deployment: str | None = None, request_id: str | None = None, timeout: float = 60.0) -> Prediction:
        """Predictions for rows: a list of mappings, a pandas or polars frame, or an Arrow table.

        Args:
            deployment: send to this one, whatever the split.
            request_id: your own id, kept beside the provider's.
            timeout: seconds.

        Raises:
            PredictionError: the endpoint answered with an error; carries the HTTP status and request id.
        """
        if deployment is not None:
            self.client.require(Capability.ENDPOINT_TARGET)
        answer = self.client.session.endpoints.predict(
            self.name, records(rows), deployment=deployment, request_id=request_id, timeout=timeout
        )
        return Prediction(answer)

    def label(self, request_id: str, values: Sequence[Any]) -> None:
        """Tell the truth about a request's rows, whenever it is known and in any order; the last word counts."""
        labels.put(self.client.session.state, self.name, [(request_id, values)])

    def label_many(self, pairs: Iterable[tuple[str, Sequence[Any]]]) -> int:
        """Labels for many requests at once; returns how many values were stored."""
        return labels.put(self.client.session.state, self.name, pairs)

    def captured(self, window: Window | timedelta | None = None, *, labelled: bool = False) -> pa.Table:
        """Requests and answers as an Arrow table of `mlport.capture.schema`; with `labelled`, the truth joined.

        Args:
            window: a span, or a duration back from now; None for all.
        """
        import pyarrow as pa

        from mlport.capture import schema

        self.client.require(Capability.ENDPOINT_CAPTURE)
        batches = self.client.session.endpoints.captured(self.name, as_window(window))
        tables = [pa.Table.from_batches([batch]) for batch in batches] or [schema(pa.struct([]), pa.null()).empty_table()]
        table = pa.concat_tables(tables, promote_options="permissive")
        return labels.join(table, labels.read(self.client.session.state, self.name)) if labelled else table

    def observe(self, window: Window | timedelta | None = None) -> Observation:
        """Requests, errors and latency of each deployment, complete up to `complete_until`."""
        self.client.require(Capability.ENDPOINT_OBSERVE)
        return self.client.session.endpoints.observe(self.name, as_window(window or timedelta(hours=1)))

    def batch_predict(self, input: str, output: str, *, name: str | None = None, wait: bool = True, **options: Any) -> Job:
        """Score files larger than memory with the version that has most of the traffic, as a job.

        `options` are further fields of `BatchSpec`.
        """
        from mlport.specs import BatchSpec, ModelRef

        main = max(self.deployments, key=lambda deployment: deployment.percent)
        ref = ModelRef(name=main.model, version=main.version)
        job = self.client.jobs.submit(BatchSpec(name=name or f"{self.name}-batch", model=ref, input=input, output=output, **options))
        return job.wait() if wait else job

    def rotate_key(self) -> str:
        """Make a new API key and return it; the old one stays good for a grace."""
        self.client.require(Capability.ENDPOINT_KEY)
        return self.client.session.endpoints.rotate_key(self.name, token=token_for("", "rotate", None))

    def deploy(
        self,
        model: ModelVersion | DeploymentSpec,
        *,
        name: str | None = None,
        key: str | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> DeploymentRecord:
        """Add a deployment that gets no traffic yet, and wait until it could answer.

        `options` are further fields of `DeploymentSpec`.
        """
        spec = as_deployment(model, name, options)
        plan = self.client.endpoints.plan_deployment(self.name, spec)
        endpoints, target = self.client.session.endpoints, self.client.config.target
        token = token_for(target, f"deployment {self.name}", key)
        operation = self.client.endpoints.send(plan, token, key, lambda: endpoints.deploy(plan, token=token))
        with _serving(self.client, self.name, spec, plan):
            finish(self.client, operation, timeout=DEPLOY_SECONDS, on_look=progress)
        return next(found for found in self.deployments if found.name == spec.deployment_name)

    def set_traffic(self, split: Mapping[str, int], *, etag: str | None = None) -> dict[str, int]:
        """Set the whole split, integer percent by deployment name, summing to 100; returns what is live.

        Raises:
            SpecError: it does not sum to 100, or names what is not deployed.
            ConflictError: `etag` is no longer the endpoint's.
        """
        if sum(share != 0 for share in split.values()) > 1:
            self.client.require(Capability.ENDPOINT_SPLIT)
        checked = check_split(split, self.split)
        operation = self.client.session.endpoints.set_traffic(self.name, checked, token=token_for("", "traffic", None), etag=etag)
        finish(self.client, operation, timeout=DEPLOY_SECONDS)
        return self.split

    def undeploy(self, deployment: str) -> None:
        """Remove a deployment that gets no traffic; an absent one is fine."""
        self._end(self.client.session.endpoints.undeploy(self.name, deployment, token=token_for("", "undeploy", None)))
        _ended(self.client, self.name, deployment)

    def delete(self) -> None:
        """Remove the endpoint and all its deployments; an absent one is fine."""
        self._end(self.client.session.endpoints.delete(self.name, token=token_for("", "delete", None)))
        _ended(self.client, self.name)

    def _end(self, operation: Operation) -> None:
        finish(self.client, operation, timeout=DEPLOY_SECONDS)


class Endpoints:
    """The endpoints of one profile."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def plan(self, spec: EndpointSpec) -> Plan:
        """What `create` would do, without doing it."""
        spec = self.settled(spec)
        self._client.require(*spec.requires())
        return self._client.plan(self._pinned(spec), self._facts(spec.deployment, spec.labels, spec.ttl))

    def plan_deployment(self, endpoint: str, spec: DeploymentSpec) -> Plan:
        """What `deploy` would do, without doing it."""
        from mlport.specs import DeploymentSpec

        self._client.require(*spec.requires(), Capability.ENDPOINT_IDLE)
        record = self._client.session.endpoints.get(endpoint)
        facts = replace(self._facts(spec, {}, None), endpoint=_facts_of(record))
        pinned = DeploymentSpec.model_validate({**spec.model_dump(), "endpoint": endpoint, "model": _ref(facts)})
        return self._client.plan(pinned, facts)

    def create(
        self,
        name: str | EndpointSpec,
        model: ModelVersion | None = None,
        *,
        key: str | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Endpoint:
        """Create an endpoint with its first deployment, and wait until it answers.

        Either an `EndpointSpec`, or a name and a version; `options` are then further fields of `EndpointSpec` or
        `DeploymentSpec`. Asked again for the same thing, it gives the endpoint that is there.

        Raises:
            ConflictError: an endpoint of that name exists and is another.
        """
        from mlport.specs import EndpointSpec

        spec = as_endpoint(name, model, options)
        plan = self.plan(spec)
        if key is None and self._is_there(EndpointSpec.model_validate(plan.spec)):
            return Endpoint(spec.name, self._client)
        endpoints = self._client.session.endpoints
        token = token_for(self._client.config.target, "endpoint", key)
        operation = self.send(plan, token, key, lambda: endpoints.create(plan, token=token))
        with _serving(self._client, spec.name, spec.deployment, plan):
            finish(self._client, operation, timeout=DEPLOY_SECONDS, on_look=progress)
        return Endpoint(spec.name, self._client)

    def _is_there(self, spec: EndpointSpec) -> bool:
        """Whether just this endpoint exists; if it is still being made, once it is ready."""
        try:
            record = self._client.session.endpoints.get(spec.name)
        except NotFoundError:
            return False
        if differing := _differences(spec, record):
            raise ConflictError(
                f"endpoint {spec.name} exists already and differs: {'; '.join(differing)}",
                hint=f"deploy to it, or delete it first: mlport endpoints delete {spec.name}",
            )
        wait_until(
            lambda: self._client.session.endpoints.get(spec.name).state,
            lambda state: state is not EndpointState.CREATING,
            timeout=DEPLOY_SECONDS,
            what=f"endpoint {spec.name}",
        )
        return True

    def get(self, name: str) -> Endpoint:
        """The endpoint of that name. Raises NotFoundError."""
        self._client.require(Capability.ENDPOINT_SERVE)
        self._client.session.endpoints.get(name)
        return Endpoint(name, self._client)

    def list(self) -> Iterator[EndpointRecord]:
        """Endpoints, page by page."""
        self._client.require(Capability.ENDPOINT_SERVE)
        return each(lambda page: self._client.session.endpoints.list(Query(), page))

    def delete(self, name: str) -> None:
        """Remove an endpoint; an absent one is fine."""
        self._client.require(Capability.ENDPOINT_SERVE)
        Endpoint(name, self._client).delete()

    def send(self, plan: Plan, token: str, key: str | None, call: Callable[[], Operation]) -> Operation:
        """Journal and send one mutation that makes something. Raises BudgetError where it does not fit into the month's budget."""

        def admitted() -> Operation:
            self._client.admit(plan)
            return call()

        return self._client.journal.once(
            token,
            plan,
            send=admitted,
            find=lambda: self._client.session.endpoints.find(token),
            name=lambda made: made.id,
            recall=lambda made: Operation(made, plan.kind, plan.name),
            find_lag=self._client.session.find_lag,
            key=key,
        )

    def _facts(self, spec: DeploymentSpec, own: Mapping[str, str], ttl: timedelta | None) -> Facts:
        version = self._client.models.get(spec.model.name, spec.model.version)
        return Facts(model=version.facts(), labels=self._client.stamps(own, ttl), machine=self._client.session.facts(spec))

    def settled(self, spec: EndpointSpec) -> EndpointSpec:
        """The same spec, with what callers must show chosen for this provider. Never nothing, unless that was asked for."""
        if spec.auth is not None:
            return spec
        return spec.model_copy(update={"auth": "key" if self._client.can(Capability.ENDPOINT_KEY) else "identity"})

    def _pinned(self, spec: EndpointSpec) -> EndpointSpec:
        version = self._client.models.get(spec.deployment.model.name, spec.deployment.model.version)
        ref = spec.deployment.model.model_copy(update={"version": version.version})
        return spec.model_copy(update={"deployment": spec.deployment.model_copy(update={"model": ref})})


@contextmanager
def _serving(client: Client, endpoint: str, spec: DeploymentSpec, plan: Plan) -> Iterator[None]:
    """Keep the price and the time of a deployment that is being made; one that failed ended as soon."""
    if plan.facts.price is None:
        yield
        return
    client.costs.begin_serving(endpoint, spec, plan.facts.price)
    try:
        yield
    except ProviderError:
        client.costs.end_serving(endpoint, spec.deployment_name)
        raise


def _ended(client: Client, endpoint: str, deployment: str | None = None) -> None:
    if client.config.priced:
        client.costs.end_serving(endpoint, deployment)


def _facts_of(record: EndpointRecord) -> dict[str, Any]:
    return {**asdict(record), "created": record.created.isoformat() if record.created else None}


def _differences(spec: EndpointSpec, record: EndpointRecord) -> list[str]:
    """How an endpoint differs from what is asked for, each as `field: it has ..., asked for ...`."""
    wanted = spec.deployment
    served = {found.name: f"{found.model}:{found.version}" for found in record.deployments}
    rate = spec.capture.rate if spec.capture else 0.0
    pairs = [
        (f"deployment {wanted.deployment_name}", served.get(wanted.deployment_name, "none"), str(wanted.model)),
        ("auth", record.auth, spec.auth),
        ("capture rate", record.capture_rate, rate),
    ]
    return [f"{field}: it has {there}, asked for {asked}" for field, there, asked in pairs if there != asked]


def _ref(facts: Facts) -> dict[str, str]:
    model = facts.model or {}
    return {"name": model["name"], "version": model["version"]}


def as_endpoint(name: str | EndpointSpec, model: ModelVersion | None, options: Mapping[str, Any]) -> EndpointSpec:
    """An `EndpointSpec` from one, or from a name, a version and fields of either spec."""
    from mlport.specs import DeploymentSpec, EndpointSpec

    if isinstance(name, EndpointSpec):
        return name
    if model is None:
        raise SpecError("endpoints.create needs a version", hint='endpoints.create("delays", ml.models.get("delays"))')
    own = {key: value for key, value in options.items() if key in EndpointSpec.model_fields}
    rest = {key: value for key, value in options.items() if key not in own}
    deployment = DeploymentSpec.model_validate({**rest, "model": {"name": model.name, "version": model.version}, "name": rest.get("name")})
    return EndpointSpec.model_validate({**own, "name": name, "deployment": deployment})


def as_deployment(model: ModelVersion | DeploymentSpec, name: str | None, options: Mapping[str, Any]) -> DeploymentSpec:
    """A `DeploymentSpec` from one, or from a version and its fields."""
    from mlport.specs import DeploymentSpec

    if isinstance(model, DeploymentSpec):
        return model
    return DeploymentSpec.model_validate({**options, "model": {"name": model.name, "version": model.version}, "name": name})


def as_window(window: Window | timedelta | None) -> Window:
    """A window from a span, a duration back from now, or None for all time."""
    if window is None:
        return ALL_TIME
    if isinstance(window, Window):
        if window.start.tzinfo is None or window.end.tzinfo is None:
            raise SpecError("the window's times need a time zone", hint="datetime.now(timezone.utc)")
        if window.start > window.end:
            raise SpecError(f"the window ends before it starts: {window.start} to {window.end}")
        return window
    now = datetime.now(UTC)
    return Window(now - window, now)
