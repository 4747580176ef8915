"""Jobs: submit a program once, follow it, read what it left."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from mlport.bundle import Bundle, git_state, pack
from mlport.capabilities import Capability
from mlport.errors import AmbiguousError, JobFailedError, MlportError, NotFoundError, SpecError
from mlport.journal import token_for, unrecorded
from mlport.paging import each
from mlport.spi import Artifact, Facts, InputFact, JobResult, JobStatus, Plan, Query, Recalls, State
from mlport.transfer import absolute
from mlport.waiting import delays, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlport.client import Client
    from mlport.costs.at_work.frozen import Actual
    from mlport.specs import BatchSpec, JobSpec
    from mlport.spi import Sweeps as Tuner


@dataclass(frozen=True)
class Job:
    """A job that exists. Each property asks the provider anew, except what no longer changes once it ended."""

    id: str
    client: Client

    def __repr__(self) -> str:
        return f"<mlport.Job {self.id}>"

    def status(self) -> JobStatus:
        """State, reason and times as they are now."""
        return self.client.session.jobs.status(self.id)

    @property
    def state(self) -> State:
        return self.status().state

    @property
    def native_state(self) -> str:
        """The provider's own word for the state."""
        return self.status().native_state

    @cached_property
    def result(self) -> JobResult:
        """What it left. Raises ConflictError while it runs."""
        return self.client.session.jobs.result(self.id)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The last value of each metric logged."""
        self.client.require(Capability.JOB_METRICS)
        return self.result.metrics

    @property
    def outputs(self) -> Mapping[str, str]:
        """Where each output lies, as a URI."""
        return {name: artifact.uri for name, artifact in self.result.outputs.items()}

    @property
    def cost(self) -> Actual:
        """What it came to so far: the provider's times at the price that it was submitted at."""
        return self.client.costs.of(self.status()).actual

    @cached_property
    def lineage(self) -> dict[str, Any]:
        """Code, data, parameters and environment that made it."""
        from mlport.lineage import lineage_of

        return lineage_of(self)

    def wait(self, timeout: float | None = None, on_look: Callable[[JobStatus], None] | None = None) -> Self:
        """Wait for the end and return the job.

        Raises:
            JobFailedError: it failed or was cancelled; the hint shows the end of its log.
            DeadlineError: `timeout` seconds passed; the job goes on.
        """
        status = wait_until(
            self.status,
            lambda seen: seen.state.terminal,
            pauses=delays(first=0.01, factor=1.05, ceiling=2.0),  # so the end is seen at most a twentieth of the job's time late
            timeout=timeout,
            what=f"job {self.id}",
            on_look=on_look,
        )
        if status.state is not State.SUCCEEDED:
            tail = "\n".join(list(self.logs())[-15:]) if self.client.can(Capability.JOB_LOGS) else ""
            raise JobFailedError(
                f"job {self.id} ended {status.state}: {status.reason or status.native_state}",
                job_id=self.id,
                state=status.state.value,
                hint=f"the end of its log:\n{tail}" if tail else "no output of it can be read",
            )
        return self

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """The lines it printed; with `follow`, until it has ended and all was read."""
        self.client.require(Capability.JOB_LOGS)
        return self._lines(follow=follow)

    def _lines(self, *, follow: bool) -> Iterator[str]:
        import time

        after: str | None = None
        while True:
            page = self.client.session.jobs.logs(self.id, after=after)
            yield from page.lines
            if page.complete or (not follow and (page.caught_up or not page.lines)):
                return
            if page.lines and page.after == after:
                raise MlportError(f"the provider gave lines and the log cursor {after!r} again: its log would never end")
            after = page.after
            if follow and not page.lines:
                time.sleep(page.pause)

    def cancel(self) -> None:
        """Ask for the end of it and all that it started. `wait` tells when that is done; an ended job stays as it is."""
        self.client.require(Capability.JOB_CANCEL)
        self.client.session.jobs.cancel(self.id)

    def delete(self) -> None:
        """Remove an ended job and what it left; registered models stay."""
        self.client.session.jobs.delete(self.id)


class Jobs:
    """The jobs of one profile."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def plan(self, spec: JobSpec | BatchSpec) -> Plan:
        """What `submit` would do, without doing it: a dry run."""
        with _scratch(spec) as folder:
            return self.prepare(spec, folder)[0]

    def submit(self, spec: JobSpec | BatchSpec, *, key: str | None = None) -> Job:
        """Start a job. With a `key`, however often and from wherever it is asked, once.

        Raises:
            SpecError: a field cannot work: it names the field, the value and what would be right.
            UnsupportedError: the provider lacks something; names every gap.
            ConflictError: the key was used for other work.
            AmbiguousError: no answer came; ask again with the same key. The message has the token, which the job carries if it exists.
        """
        token = token_for(self._client.config.target, "job", key)
        recorded = key is not None or not self._are_recalled()
        with _scratch(spec) as folder:
            plan, bundle = self.prepare(spec, folder)
            packed = bundle.path if bundle else None
            job_id = self.send(plan, token=token, bundle=packed, secrets=secrets_of(spec), key=key, recorded=recorded)
        return Job(job_id, self._client)

    def _are_recalled(self) -> bool:
        """Whether jobs tell how they were asked for, and a submit needs no entry in the journal to be done once."""
        session = self._client.session
        return session.find_lag <= 0 and isinstance(session, Recalls)

    def send(
        self,
        plan: Plan,
        *,
        token: str,
        bundle: Path | None,
        secrets: Mapping[str, str],
        key: str | None = None,
        replan: bool = False,
        recorded: bool = True,
        to: Tuner | None = None,
    ) -> str:
        """Submit what was planned, once for each token; its id.

        `replan` is that of `Journal.once`; a sweep goes `to` a tuner; what is not `recorded` is `journal.unrecorded`.
        """
        jobs = to or self._client.session.jobs

        def submit() -> str:
            self._client.admit(plan)
            return jobs.submit(plan, token=token, bundle=bundle, secrets=secrets)

        def find() -> str | None:
            return jobs.find(token)

        if not recorded:
            return unrecorded(token, submit, find)
        return self._client.journal.once(
            token,
            plan,
            submit,
            find,
            name=str,
            recall=str,
            find_lag=self._client.session.find_lag,
            key=key,
            replan=replan,
        )

    def get(self, job_id: str) -> Job:
        """The job of that id. Raises NotFoundError."""
        self._client.session.jobs.status(job_id)
        return Job(job_id, self._client)

    def find(self, key: str) -> Job | None:
        """The job that was submitted with this key, None if there is none."""
        token = token_for(self._client.config.target, "job", key)
        found = self._client.session.jobs.find(token)
        return Job(found, self._client) if found else None

    def list(
        self, *, name: str | None = None, state: State | str | None = None, labels: Mapping[str, str] | None = None
    ) -> Iterator[JobStatus]:
        """Jobs, newest first, page by page as you read on."""
        query = Query(name=name, states=frozenset({State(state)}) if state else frozenset(), labels=labels or {})
        return each(lambda page: self._client.session.jobs.list(query, page))

    def prepare(self, spec: JobSpec | BatchSpec, folder: Path) -> tuple[Plan, Bundle | None]:
        """The plan, and the packed source, which lies in `folder`; nothing is sent."""
        from mlport.specs import BatchSpec

        if isinstance(spec, BatchSpec):
            return self._prepare_batch(spec), None
        self._client.require(*spec.requires())
        secrets_of(spec)
        spec = located(spec)
        bundle = pack(spec.source, folder) if spec.source else None
        _require_entrypoint(spec, bundle)
        git = git_state(spec.source) if spec.source else None
        code = Facts(
            bundle=bundle.digest if bundle else None,
            bundle_bytes=bundle.bytes if bundle else 0,
            git_commit=git.commit if git else None,
            git_dirty=git.dirty if git else None,
        )
        return self._client.plan(spec, self.facts(spec, code)), bundle

    def facts(self, spec: JobSpec, code: Facts) -> Facts:
        """What is so now: inputs, machine and labels. `code` says what the source was when it was packed."""
        return replace(
            code,
            inputs={name: self._input(name, uri) for name, uri in spec.inputs.items()},
            labels=self._client.stamps(spec.labels, spec.ttl),
            machine=self._client.session.facts(spec),
        )

    def _prepare_batch(self, spec: BatchSpec) -> Plan:
        client = self._client
        client.require(*spec.requires())
        version = client.models.get(spec.model.name, spec.model.version)
        pinned = located(spec).model_copy(update={"model": spec.model.model_copy(update={"version": version.version})})
        facts = Facts(
            inputs={"rows": self._input("rows", pinned.input, field="BatchSpec.input")},
            labels=client.stamps(spec.labels, None),
            model=version.facts(),
            machine=client.session.facts(pinned),
        )
        return client.plan(pinned, facts)

    def _input(self, name: str, uri: str, *, field: str | None = None) -> InputFact:
        try:
            return self._client.session.input(uri)
        except NotFoundError as error:
            raise SpecError(f"{field or f'JobSpec.inputs.{name}'}: {uri} does not exist", hint=error.hint) from error


@overload
def located(spec: JobSpec) -> JobSpec: ...
@overload
def located(spec: BatchSpec) -> BatchSpec: ...
def located(spec: JobSpec | BatchSpec) -> JobSpec | BatchSpec:
    """The same spec, with absolute paths."""
    from mlport.specs import BatchSpec

    if isinstance(spec, BatchSpec):
        return spec.model_copy(update={"input": absolute(spec.input), "output": absolute(spec.output)})
    source = str(Path(spec.source).absolute()) if spec.source else None
    return spec.model_copy(update={"inputs": {name: absolute(uri) for name, uri in spec.inputs.items()}, "source": source})


@contextmanager
def _scratch(spec: JobSpec | BatchSpec) -> Iterator[Path]:
    """A folder to pack the source in; none is made for a spec that has no source, for it costs milliseconds."""
    if getattr(spec, "source", None) is None:
        yield Path(os.devnull)
        return
    with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
        yield Path(folder)


def _require_entrypoint(spec: JobSpec, bundle: Bundle | None) -> None:
    """Refuse a script that the bundle does not hold, before anything starts."""
    program, *rest = spec.entrypoint
    script = rest[0] if rest and Path(program).name.startswith("python") and rest[0].endswith(".py") else program
    is_in_source = script.endswith((".py", ".sh")) or script.startswith("./")
    if not is_in_source or Path(script).is_absolute():
        return
    held = bundle.files if bundle else ()
    if Path(script).as_posix() not in held:
        near = get_close_matches(script, held, n=1)
        raise SpecError(
            f"JobSpec.entrypoint: {script!r} is not in the source {spec.source or '(none given)'}",
            hint=f"did you mean {near[0]!r}?" if near else f"the source holds: {', '.join(held[:10]) or 'nothing'}",
        )


def secrets_of(spec: JobSpec | BatchSpec) -> dict[str, str]:
    """The values of the spec's secrets, from this environment. Raises SpecError for one that is not there."""
    names = getattr(spec, "secrets", ())
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise SpecError(f"JobSpec.secrets: not set in your environment: {', '.join(missing)}", hint="export them before submitting")
    return {name: os.environ[name] for name in names}


def again_later(error: MlportError) -> bool:
    """Whether the same submit may well work, or be known to have worked, a little later."""
    return error.retryable or isinstance(error, AmbiguousError)


def artifact(job: Job, output: str) -> Artifact:
    """One output of an ended job. Raises NotFoundError naming the outputs that there are."""
    outputs = job.result.outputs
    if output not in outputs:
        raise NotFoundError(f"job {job.id} has no output {output!r}", hint=f"it left: {', '.join(outputs) or 'nothing'}")
    return outputs[output]
