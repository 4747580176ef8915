"""What a monitor is asked to do: watch an endpoint's captured traffic, tell whom, and retrain by which policy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from mlport.capabilities import Capability
from mlport.fields import Count, Duration, Identifier, Name, Real, Scalar, Spec
from mlport.specs import Compute, JobSpec

Event = Literal["drift", "decay", "unknown", "failed", "recovered", "retraining"]
EVENTS: tuple[Event, ...] = ("drift", "decay", "unknown", "failed", "recovered", "retraining")


class Alert(Spec):
    """Who is told, and how. A `${NAME}` in it is kept as it is and filled in from the environment when something is sent."""

    to: Literal["log", "webhook", "slack", "email"] = "log"
    """`webhook` gets JSON; `slack` the text that Slack's incoming webhooks take, and those of what speaks like them."""
    url: str | None = None
    """Where `webhook` and `slack` post to; a secret address as `${NAME}`."""
    headers: dict[str, str] = {}
    """For `webhook`: sent with it, such as `{"Authorization": "Bearer ${TOKEN}"}`."""
    addresses: tuple[str, ...] = ()
    """Whom `email` is for."""
    server: str | None = None
    """For `email`: `smtp://`, `smtp+starttls://` or `smtps://`, with `user:${PASSWORD}@` where one must log in."""
    sender: str | None = None
    """For `email`: whom it is from."""
    on: tuple[Event, ...] = EVENTS
    """What it tells of."""

    def _contradiction(self) -> str | None:
        given = {name for name in ("url", "headers", "addresses", "server", "sender") if getattr(self, name)}
        needed = {"log": set(), "webhook": {"url"}, "slack": {"url"}, "email": {"addresses", "server", "sender"}}[self.to]
        if missing := sorted(needed - given):
            return f"{', '.join(missing)}: needed for an alert to {self.to}"
        if odd := sorted(given - needed - ({"headers"} if self.to == "webhook" else set())):
            return f"{', '.join(odd)}: an alert to {self.to} has no such field"
        return None


class PerformanceSpec(Spec):
    """How performance is watched, on labels that come late."""

    metric: str | None = None
    """As `mlport.decay.performance` names them; the objective's if not set, else one that fits the labels."""
    reference: Real | None = None
    """What it was when all was well. If not set: that of the reference data, where these have predictions and labels; else the objective's bound."""
    margin: Real | None = Field(None, ge=0)
    """How much worse is still fine, in the metric's unit."""
    least_coverage: Real = Field(0.5, ge=0, le=1)
    """With a lower share of its rows labelled, nothing is said of a window."""
    min_rows: Count = Field(30, ge=2)
    """With fewer labelled rows, nothing is said of a window."""
    wait: Duration = timedelta(days=30)
    """How long after a window its labels may come: so long it is judged anew in each run."""
    task: Literal["binary", "multiclass", "regression"] | None = None
    classes: tuple[Scalar, ...] | None = None
    """The labels in the order of the probabilities that the model answers."""
    positive: Scalar | None = None
    threshold: Real | None = None
    """From which score on the answer is the positive class."""
    prediction: str = "prediction"
    label: str = "label"
    """Their names in the reference data."""


class Gate(Spec):
    """When a challenger is good enough, on the newest labelled rows, which neither it nor the champion was trained on."""

    metric: str | None = None
    """The objective's if not set."""
    at_least: Real | None = None
    at_most: Real | None = None
    """What the challenger must reach; the objective's if neither is set."""
    least_gain: Real = 0.0
    """How much better than the champion it must be, in the metric's unit; negative: how much worse it may be."""
    sure: bool = False
    """Whether the whole 95 % interval of the gain must be above `least_gain`, and not the gain alone."""
    min_rows: Count = Field(200, ge=30)
    """With fewer labelled rows nothing passes."""


class RetrainPolicy(Spec):
    """When to train again, on what, at what cost, and what becomes of the result."""

    job: JobSpec
    """The training job. Its environment gets `MLPORT_DATA_START` and `MLPORT_DATA_END`, the span of new data in ISO 8601."""
    output: Identifier = "model"
    """Which of its outputs is registered, under the name of the model that the endpoint serves."""
    on_drift: bool = True
    on_decay: bool = True
    schedule: str | None = None
    """A cron expression: train by the clock, too."""
    time_zone: str = "UTC"
    new_rows: Count | None = Field(None, ge=1)
    """Train when so many labelled rows came since the last training."""
    cooldown: Duration = timedelta(days=1)
    """No training begins so soon after another did."""
    budget: str | None = None
    """What the trainings of a calendar month may cost together, such as `50 USD`."""
    data: Identifier | None = None
    """The input of `job` that gets the captured and labelled rows, as a Parquet file with a column for each feature."""
    label: str = "label"
    """The name of the column of labels in that file."""
    data_window: Duration = timedelta(days=365)
    """How far back these rows go."""
    holdout: Duration | None = None
    """The newest labelled rows kept from training, for the gate; the monitor's window if not set."""
    gate: Gate = Gate()
    hand_over: Literal["register", "deploy"] = "deploy"
    """What a challenger that passed becomes: the alias `challenger` only, or also a deployment at 0 % beside the champion, for a rollout."""
    compute: Compute = Compute()
    """The machine of that deployment, and of the scoring before it."""

    def _contradiction(self) -> str | None:
        if not (self.on_drift or self.on_decay or self.schedule or self.new_rows):
            return "on_drift, on_decay, schedule, new_rows: with none of them nothing is ever trained"
        if self.data is not None and self.data in self.job.inputs:
            return f"data: the job's input {self.data!r} is {self.job.inputs[self.data]!r} already; name another, or leave that out"
        return _cron_problem(self.schedule, self.time_zone)


class MonitorSpec(Spec):
    """Watch what an endpoint is asked and answers: whether it has drifted from a reference, and whether its answers became worse."""

    name: Name | None = None
    """The endpoint's name if not set."""
    endpoint: Name
    reference: str
    """What the traffic is held against: a Parquet, CSV or Arrow file, a folder or URL of them, or a stored profile. It is read once, at creation."""
    window: Duration = timedelta(days=1)
    """How long one reading spans; windows begin at multiples of it since 1970-01-01 UTC."""
    start: Duration | None = None
    """How far back from its creation the first window lies; the one that is under way if not set."""
    delay: Duration = timedelta(minutes=10)
    """How long after its end a window is read: what comes later than that is not counted."""
    schedule: str | None = None
    """A cron expression; as soon as each window can be read if not set."""
    time_zone: str = "UTC"
    columns: tuple[str, ...] | None = None
    """Those watched; all that the reference and the requests share if not set."""
    kinds: dict[str, Literal["number", "category", "text", "embedding"]] = {}
    metrics: tuple[str, ...] | None = None
    thresholds: dict[str, Real] = {}
    """By metric, or `column.metric`, which stands over it; those of `mlport drift` if not set. With `measured_by = "provider"` its own metrics, too."""
    importance: dict[str, Real] = {}
    """What the model makes of each column; what matters most is named first."""
    least_importance: Real = Field(0.0, ge=0, lt=1)
    """Columns below this share are told and raise no alarm."""
    noise: Real = Field(0.05, ge=0, lt=1)
    gate: Real = Field(0.05, ge=0, lt=1)
    """The tests' false discovery rate; 0 for no tests."""
    min_rows: Count = Field(100, ge=1)
    """With fewer rows nothing is said of a window."""
    persistence: tuple[Count, Count] = (1, 1)
    """`[k, n]`: an alarm when k of the last n windows have drifted."""
    measured_by: Literal["mlport", "provider"] = "mlport"
    """Who compares: mlport, with the same numbers everywhere, or the provider's own monitor, by its clock and definitions."""
    labels_from: str | None = None
    """A table with `request_id`, `label`, and where there are, `row` and `time`; besides those told through the endpoint."""
    watch: tuple[Literal["drift", "decay"], ...] = Field(("drift", "decay"), min_length=1)
    performance: PerformanceSpec = PerformanceSpec()
    """How decay is judged."""
    alerts: tuple[Alert, ...] = (Alert(),)
    retrain: RetrainPolicy | None = None
    labels: dict[str, str] = {}
    options: dict[str, dict[str, Any]] = {}

    @property
    def monitor_name(self) -> str:
        return self.name or self.endpoint

    def _contradiction(self) -> str | None:
        k, n = self.persistence
        if not 1 <= k <= n <= 100:
            return f"persistence: {k} of {n} windows: k must be at least 1 and at most n, and n at most 100"
        if any(value < 0 for value in (*self.thresholds.values(), *self.importance.values())):
            return "thresholds, importance: no value may be negative"
        return _cron_problem(self.schedule, self.time_zone)

    def _needs(self) -> Iterator[Capability]:
        yield Capability.ENDPOINT_CAPTURE
        yield Capability.MONITOR
        if self.retrain is not None:
            yield from self.retrain.job._needs()
            yield Capability.MODEL_REGISTER
            yield Capability.MODEL_ALIAS
            yield Capability.BATCH
            if self.retrain.hand_over == "deploy":
                yield Capability.ENDPOINT_IDLE


def _cron_problem(expression: str | None, time_zone: str) -> str | None:
    from mlport.scheduling.cron import Cron

    if expression is None:
        return None
    try:
        Cron.parse(expression, time_zone)
    except ValueError as error:
        return f"schedule and time_zone: {error}"
    return None
