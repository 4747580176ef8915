"""Models: versions with a digest and lineage, aliases, tags; the registry of the profile's own provider."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport.bundle import tree_digest
from mlport.capabilities import Capability
from mlport.errors import ConflictError, NotFoundError, SpecError, UntrustedModelError
from mlport.journal import token_for
from mlport.operations import finish
from mlport.paging import each
from mlport.spi import Facts, ModelRecord, Operation, Plan, Query, VersionRecord
from mlport.transfer import absolute, is_url, local_path

if TYPE_CHECKING:
    from mlport.client import Client
    from mlport.jobs import Job
    from mlport.specs import ModelSpec


@dataclass(frozen=True)
class ModelVersion:
    """A registered version, as it was when you looked."""

    record: VersionRecord
    client: Client

    def __repr__(self) -> str:
        return f"<mlport.ModelVersion {self.name}:{self.version}>"

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def version(self) -> str:
        return self.record.version

    @property
    def digest(self) -> str | None:
        """SHA-256 of its files, as `mlport.bundle.tree_digest`."""
        return self.record.digest

    @property
    def lineage(self) -> Mapping[str, Any]:
        """Code, data, parameters, environment and job that made it."""
        return self.record.lineage

    def facts(self) -> dict[str, Any]:
        """The record as plain data, for a plan."""
        record = asdict(self.record)
        record["created"] = self.record.created.isoformat() if self.record.created else None
        return record

    def alias(self, alias: str) -> None:
        """Point `alias` at this version; the last writer wins."""
        self.client.models.alias(self.name, alias, self.version)

    def tag(self, **tags: str | None) -> None:
        """Set tags; None removes one."""
        self.client.require(Capability.MODEL_TAGS)
        self.client.session.models.tag(self.name, self.version, tags)

    def approve(self, reason: str = "") -> None:
        """Approve it in the vendor's own workflow, where it has one."""
        self._decide(approved=True, reason=reason)

    def reject(self, reason: str = "") -> None:
        """Reject it in the vendor's own workflow, where it has one."""
        self._decide(approved=False, reason=reason)

    def _decide(self, *, approved: bool, reason: str) -> None:
        self.client.require(Capability.MODEL_APPROVAL)
        self.client.session.models.approve(self.name, self.version, approved=approved, reason=reason)

    def download(self, destination: str | Path) -> Path:
        """Copy its files to `destination`, which must not exist, and verify their digest.

        Raises:
            ConflictError: the files are not those that were registered; the copy is removed.
        """
        import shutil

        self.client.require(Capability.MODEL_DOWNLOAD)
        target = Path(destination)
        if target.exists():
            raise SpecError(f"{target} exists already", hint="name a folder that does not exist yet")
        copied = self.client.session.models.download(self.name, self.version, target)
        found = tree_digest(copied)
        if self.digest is not None and found != self.digest:
            shutil.rmtree(target, ignore_errors=True)
            raise ConflictError(
                f"{self.name}:{self.version} was registered with digest {self.digest}, but its files have {found}",
                hint="they were changed or damaged in the registry's store",
            )
        return copied

    def delete(self) -> None:
        """Remove the version; an absent one is fine."""
        self.client.session.models.delete(self.name, self.version)


class Models:
    """The registry of one profile."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def register(
        self,
        name: str,
        path: str | Path | None = None,
        *,
        from_job: Job | None = None,
        output: str = "model",
        alias: str | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        because: Mapping[str, Any] | None = None,
        trust: bool = False,
        key: str | None = None,
    ) -> ModelVersion:
        """Register the next version from a job's output, or from a folder or URI.

        Loading a model runs its code: an output of this profile's own jobs is trusted, anything else needs `trust`. What it was made
        `because` of, such as a monitor's readings, stands in its lineage.

        Raises:
            UntrustedModelError: a folder or URI from elsewhere, without `trust`.
            ConflictError: the job's output is not what the job wrote.
        """
        from mlport.jobs import artifact
        from mlport.specs import ModelSpec

        if (path is None) == (from_job is None):
            raise SpecError(
                "register needs either a path or from_job=",
                hint='register("delays", from_job=job) or register("delays", "folder", trust=True)',
            )
        if from_job is not None:
            found = artifact(from_job, output)
            spec = ModelSpec(name=name, path=found.uri, job_id=from_job.id, output=output, tags=dict(tags or {}), description=description)
            lineage, expected = {**from_job.lineage, "output": output}, found.digest
        else:
            _require_trust(str(path), trust)
            spec = ModelSpec(name=name, path=absolute(str(path)), tags=dict(tags or {}), description=description)
            lineage, expected = {"path": spec.path, "trusted_by": self._client.config.owner}, None
        plan = self._plan(spec, {**lineage, **({"because": dict(because)} if because else {})}, expected)
        version = self._once(plan, key, _natural_key(spec, from_job))
        if alias:
            self.alias(name, alias, version.version)
            return self.get(name, version.version)
        return version

    def plan(self, spec: ModelSpec) -> Plan:
        """What registering would do, without doing it."""
        return self._plan(spec, {}, None)

    def get(self, name: str, version: str | None = None) -> ModelVersion:
        """A version by number or alias; the newest if neither is given. `name@alias` and `name:version` work too.

        Raises:
            NotFoundError: naming the versions or aliases that there are.
        """
        self._client.require(Capability.MODEL_REGISTER)
        name, wanted = _parse(name, version)
        session = self._client.session
        if wanted is None:
            newest = next(each(lambda page: session.models.versions(name, Query(page_size=1), page)), None)
            if newest is None:
                raise NotFoundError(f"no model named {name!r} has a version", hint="`mlport models list` shows what there is")
            return ModelVersion(newest, self._client)
        if not _is_version(wanted):
            self._client.require(Capability.MODEL_ALIAS)
            wanted = session.models.resolve(name, wanted)
        return ModelVersion(session.models.get(name, wanted), self._client)

    def list(self) -> Iterator[ModelRecord]:
        """Registered models, page by page."""
        self._client.require(Capability.MODEL_REGISTER)
        return each(lambda page: self._client.session.models.list(Query(), page))

    def versions(self, name: str) -> Iterator[ModelVersion]:
        """Versions of a model, newest first."""
        self._client.require(Capability.MODEL_REGISTER)
        found = each(lambda page: self._client.session.models.versions(name, Query(), page))
        return (ModelVersion(record, self._client) for record in found)

    def alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version; the last writer wins."""
        if _is_version(alias) or not alias:
            raise SpecError(f"alias {alias!r}: an alias must not look like a version", hint="for example champion")
        self._client.require(Capability.MODEL_ALIAS)
        self._client.session.models.set_alias(name, alias, version)

    def drop_alias(self, name: str, alias: str) -> None:
        """Remove an alias; an absent one is fine."""
        self._client.require(Capability.MODEL_ALIAS)
        self._client.session.models.drop_alias(name, alias)

    def delete(self, name: str, version: str) -> None:
        """Remove a version; an absent one is fine."""
        self._client.session.models.delete(name, version)

    def copy(self, version: ModelVersion, *, to: Client) -> ModelVersion:
        """Copy a version to another profile's registry, with digest, lineage and tags."""
        with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
            from mlport.specs import ModelSpec

            files = version.download(Path(folder) / "model")
            spec = ModelSpec(name=version.name, path=str(files), tags=dict(version.record.tags), description=version.record.description)
            lineage = {**version.lineage, "copied_from": f"{self._client.config.target} {version.name}:{version.version}"}
            return to.models._send(to.models._plan(spec, lineage, version.digest), None)

    def _plan(self, spec: ModelSpec, lineage: Mapping[str, Any], expected: str | None) -> Plan:
        digest = expected if is_url(spec.path) else _verified(spec.path, expected)
        model = {"digest": digest, "lineage": dict(lineage), "trusted": True}
        looked = self._client.session.facts(spec)
        return self._client.plan(spec, Facts(model=model, labels=self._client.stamps({}, None), machine=looked))

    def _once(self, plan: Plan, key: str | None, natural: str | None) -> ModelVersion:
        try:
            return self._send(plan, key or natural)
        except NotFoundError:  # registered before and deleted since: with no key of the caller's, that is a new wish
            if key is not None or natural is None:
                raise
            return self._send(plan, None)

    def _send(self, plan: Plan, key: str | None) -> ModelVersion:
        client = self._client
        models = client.session.models
        token = token_for(client.config.target, "model", key)
        operation = client.journal.once(
            token,
            plan,
            send=lambda: models.register(plan, token=token),
            find=lambda: models.find(token),
            name=lambda made: made.id,
            recall=lambda made: Operation(made, "model.register", plan.name),
            find_lag=client.session.find_lag,
            key=key,
        )
        result = finish(client, operation).result
        if result is None:
            raise NotFoundError(f"{client.provider.name} registered {plan.name} but named no version")
        return ModelVersion(models.get(plan.name, result), client)


def _natural_key(spec: ModelSpec, job: Job | None) -> str | None:
    """Registering one job's output under one name is the same act however often it is asked."""
    return f"{job.id} {spec.model_dump_json()}" if job else None


def _verified(path: str, expected: str | None) -> str:
    folder = local_path(path)
    if not folder.exists():
        raise SpecError(f"ModelSpec.path: {folder} does not exist")
    found = tree_digest(folder)
    if expected is not None and found != expected:
        raise ConflictError(
            f"{folder} has digest {found}, but was written with {expected}",
            hint="it was changed since; register it as a folder with trust if you mean this one",
        )
    return found


def _require_trust(path: str, trust: bool) -> None:
    if not trust:
        raise UntrustedModelError(
            f"{path} comes from outside this profile's registry and jobs, and loading a model runs its code",
            hint="read what it holds; then pass trust=True (--trust on the command line)",
        )


def _is_version(text: str) -> bool:
    return text.isdigit()


def _parse(name: str, version: str | None) -> tuple[str, str | None]:
    if version is not None:
        return name, str(version)
    for mark in ("@", ":"):
        head, found, tail = name.partition(mark)
        if found:
            return head, tail
    return name, None
