"""Endpoints of Vertex AI: each with a host of its own, its deployments known by numbers that mlport makes of the token.

Decisions: a deployment with traffic is not undeployed, the last one included: delete the endpoint instead. A creation that
fails leaves no endpoint. What was captured stays in BigQuery, which is the project's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mlport.errors import BusyError, ConflictError, InvalidRequestError, NotFoundError, SpecError, UnsupportedError, stamped
from mlport.specs import DeploymentSpec, EndpointSpec, Spec
from mlport.spi import Answer, EndpointRecord, Json, Observation, Operation, Page, Plan, Query, Request, StateStore, Window
from mlport.traffic import check_shares
from mlport_vertex.google.api import VertexApi
from mlport_vertex.names import deployed_id, endpoint_name, last, model_name, settled
from mlport_vertex.operations import DONE
from mlport_vertex.sagas import Note, Sagas, Step
from mlport_vertex.serving import build_calls, build_image, captured, observe, predicting
from mlport_vertex.serving.build_calls import BUILD, Builds, store_context
from mlport_vertex.serving.build_image import STORE
from mlport_vertex.serving.deployed import Deployed, DeployedModels, columns_of, speaks_v2
from mlport_vertex.serving.endpoint_records import endpoint_record
from mlport_vertex.serving.endpoint_request import CREATE, DEPLOY

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = ("endpoint", "deployment", "undeploy", "delete")


@stamped("vertex", "endpoints")
class VertexEndpoints:
    """The endpoints of one project and region. Safe to use from several threads."""

    def __init__(self, api: VertexApi, state: StateStore) -> None:
        self._api, self._sagas, self._deployed = api, Sagas(api, state), DeployedModels(state)
        self._phone = predicting.Phone(api, self._deployed)
        self._parent = api.config.parent

    # ---------------------------------------------------------------- making

    def create(self, plan: Plan, *, token: str) -> Operation:
        """Begin to make an endpoint and its deployment; both are there when the operation has succeeded.

        Raises:
            ConflictError: an endpoint of that name exists.
        """
        return self._begin(plan, token, plan.name, plan.spec["deployment"])

    def deploy(self, plan: Plan, *, token: str) -> Operation:
        """Begin to add a deployment, at 0 percent.

        Raises:
            ConflictError: a deployment of that name is there.
        """
        if found := self.find(token):
            return found
        endpoint = plan.spec["endpoint"]
        self._refuse_unfitting(self._endpoint(endpoint), plan)
        return self._begin(plan, token, endpoint, plan.spec)

    def _begin(self, plan: Plan, token: str, endpoint: str, spec: Json) -> Operation:
        if found := self.find(token):
            return found
        asked = DeploymentSpec.model_validate(spec)
        if any(request.call == STORE for request in plan.requests):
            store_context(self._api, plan)
        steps = tuple(
            self._step(request, endpoint, settled(request.body, token, asked.deployment_name))
            for request in plan.requests
            if request.call != STORE
        )
        model = plan.facts.model or {}
        served = str(plan.resolved["served"])
        known = Deployed(
            asked.deployment_name,
            model["name"],
            model["version"],
            asked.runtime,
            str(plan.resolved["route"] or ""),
            columns_of(model.get("signature")),
            "" if "@" in served else served,
        )
        self._deployed.put(endpoint, deployed_id(token, asked.deployment_name), known)
        return self._sagas.begin(Note(token, plan.kind, endpoint, steps, result=endpoint)).operation

    def _step(self, request: Request, endpoint: str, body: Json) -> Step:
        if request.call == CREATE:
            return Step("endpoints.create", self._parent, body, {"endpointId": endpoint})
        if request.call == DEPLOY:
            return Step("endpoints.deployModel", endpoint_name(self._parent, endpoint), body)
        return Step(BUILD if request.call == build_image.CREATE else "models.upload", self._parent, body)

    def _refuse_unfitting(self, endpoint: Json, plan: Plan) -> None:
        known = self._deployed.of(endpoint).values()
        if plan.name in {each.name for each in known}:
            said = f"endpoint {last(endpoint['name'])!r} has a deployment {plan.name!r}"
            raise ConflictError(said, hint="choose another name, or undeploy that one first")
        if any(each.speaks_v2 != speaks_v2(str(plan.resolved["route"] or "")) for each in known):
            raise SpecError(
                "DeploymentSpec.options.vertex.predict_route: all deployments of an endpoint speak the Open Inference Protocol, or none",
                hint="a route that ends with /infer is of that protocol",
            )

    def find(self, token: str) -> Operation | None:
        note = self._sagas.find(token)
        return note.operation if note and note.kind in KINDS else None

    def facts(self, spec: Spec) -> Json:
        """What a plan asks: with which container the version is registered; for runtime `build` what its image is made of."""
        asked = spec.deployment if isinstance(spec, EndpointSpec) else spec
        if not isinstance(asked, DeploymentSpec):
            return {}
        model = self._api.call("models.get", name=model_name(self._parent, asked.model.name, asked.model.version))
        build = build_calls.facts(self._api, str(model.get("artifactUri", ""))) if asked.runtime == "build" else {}
        return {"container": model.get("containerSpec", {}), **build}

    # ---------------------------------------------------------------- changing

    def set_traffic(self, name: str, split: Mapping[str, int], *, token: str, etag: str | None = None) -> Operation:
        """Set the whole split, at once; within some minutes all requests follow it.

        Raises:
            SpecError: shares that are no whole percents, or do not sum to 100.
            ConflictError: the split does not name exactly the deployments that there are, or `etag` is no longer right.
        """
        check_shares(split)
        endpoint = self._endpoint(name)
        record = self._record(endpoint)
        if set(split) != set(record.split):
            raise ConflictError(
                f"the split names {sorted(split)}, and {name!r} has {sorted(record.split)}", hint="name each deployment, with 0 for none"
            )
        if etag is not None and etag != record.etag:
            raise _changed(name)
        ids = {deployment.name: deployment.native_name for deployment in record.deployments}
        shares = {ids[deployment]: share for deployment, share in split.items()}
        body = {"displayName": endpoint["displayName"], "trafficSplit": shares, **({"etag": etag} if etag is not None else {})}
        try:
            self._api.call("endpoints.patch", name=endpoint_name(self._parent, name), body=body, updateMask="trafficSplit")
        except (BusyError, InvalidRequestError) as error:
            now = self._endpoint(name)
            if etag is not None and now.get("etag") != etag:
                raise _changed(name) from error
            if {each["id"] for each in now.get("deployedModels", ())} == set(ids.values()):
                raise
            raise BusyError(f"a deployment of {name!r} came or went meanwhile", provider="vertex", operation="endpoints.patch") from error
        return Operation(f"{DONE}/{name}/{token}", "set_traffic", name)

    def undeploy(self, name: str, deployment: str, *, token: str) -> Operation:
        """Begin to take a deployment out. An absent one is fine.

        Raises:
            ConflictError: it has traffic.
        """
        if found := self.find(token):
            return found
        endpoint = self._look(name)
        record = self._record(endpoint) if endpoint else None
        found_there = next((each for each in record.deployments if each.name == deployment), None) if record else None
        if record is None or found_there is None or endpoint is None:
            return self._sagas.begin(Note(token, "undeploy", name, ())).operation
        if found_there.percent:
            hint = "delete the endpoint instead" if len(record.deployments) == 1 else "give its traffic to others first"
            raise ConflictError(f"deployment {deployment!r} of {name!r} has {found_there.percent} % of the traffic", hint=hint)
        out = Step("endpoints.undeployModel", endpoint_name(self._parent, name), {"deployedModelId": found_there.native_name})
        return self._sagas.begin(Note(token, "undeploy", name, (out, *self._copies(endpoint, found_there.native_name)))).operation

    def delete(self, name: str, *, token: str) -> Operation:
        """Take every deployment out, those with traffic last, then remove the endpoint. An absent endpoint is fine."""
        if found := self.find(token):
            return found
        self._phone.forget(name)
        if self._api.config.build_repository:
            Builds(self._api).cancel_of(name)
        endpoint = self._look(name)
        if endpoint is None:
            return self._sagas.begin(Note(token, "delete", name, ())).operation
        resource = endpoint_name(self._parent, name)
        split = endpoint.get("trafficSplit", {})
        ids = sorted((each["id"] for each in endpoint.get("deployedModels", ())), key=lambda number: split.get(number, 0))
        silenced = (
            (Step("endpoints.patch", resource, {"displayName": endpoint["displayName"]}, {"updateMask": "trafficSplit"}),) if split else ()
        )
        out = (Step("endpoints.undeployModel", resource, {"deployedModelId": number}) for number in ids)
        copies = self._copies(endpoint, *ids)
        return self._sagas.begin(Note(token, "delete", name, (*silenced, *out, Step("endpoints.delete", resource), *copies))).operation

    def _copies(self, endpoint: Json, *numbers: str) -> tuple[Step, ...]:
        """The steps that remove what was made for these deployments alone."""
        known = self._deployed.of(endpoint)
        copies = sorted({known[number].copy for number in numbers if known[number].copy})
        return tuple(Step("models.delete", model_name(self._parent, copy)) for copy in copies)

    def rotate_key(self, name: str, *, token: str) -> str:
        raise UnsupportedError("vertex", [("endpoint.key", "absent: Vertex AI has no keys of endpoints; callers show Google credentials")])

    # ---------------------------------------------------------------- looking

    def get(self, name: str) -> EndpointRecord:
        return self._record(self._endpoint(name))

    def _endpoint(self, name: str) -> Json:
        return self._api.call("endpoints.get", name=endpoint_name(self._parent, name))

    def _look(self, name: str) -> Json | None:
        try:
            return self._endpoint(name)
        except NotFoundError:
            return None

    def _record(self, endpoint: Json) -> EndpointRecord:
        return endpoint_record(self._api.config, endpoint, self._deployed.of(endpoint))

    def list(self, query: Query, page: str | None = None) -> Page[EndpointRecord]:
        wanted = [f'labels.{key}="{value}"' for key, value in query.labels.items()]
        if query.name:
            wanted.append(f'endpoint="{query.name}"')
        found = self._api.call(
            "endpoints.list",
            parent=self._parent,
            filter=" AND ".join(wanted) or None,
            orderBy="create_time desc" if query.newest_first else "create_time",
            pageSize=query.page_size,
            pageToken=page,
        )
        return Page([self._record(endpoint) for endpoint in found.get("endpoints", ())], found.get("nextPageToken") or None)

    def headers(self, name: str, *, method: str = "POST", path: str = "", body: bytes | None = None) -> Mapping[str, str]:
        """A bearer token, which is good for an hour at most."""
        self._endpoint(name)
        return {"authorization": f"Bearer {self._api.connection.token()['token']}"}

    # ---------------------------------------------------------------- what passes

    def predict(
        self, name: str, rows: Sequence[Json], *, deployment: str | None = None, request_id: str | None = None, timeout: float = 60.0
    ) -> Answer:
        """Ask for predictions.

        Raises:
            UnsupportedError: `deployment` is given.
            PredictionError: any answer of the model's but 2xx, or none; it is not asked again.
        """
        if deployment is not None:
            raise UnsupportedError("vertex", [("endpoint.target", "absent: predict names no deployment")])
        return self._phone.predict(name, rows, caller_id=request_id, timeout=timeout)

    def captured(self, name: str, window: Window) -> Iterator[pa.RecordBatch]:
        """What BigQuery has of it; a request is there some minutes after it was answered."""
        return captured.read(self._api, self._endpoint(name), self._deployed, window)

    def observe(self, name: str, window: Window) -> Observation:
        """What Cloud Monitoring has of it, in whole minutes."""
        return observe.observation(self._api, last(self._endpoint(name)["name"]), self._deployed, window)


def _changed(name: str) -> ConflictError:
    return ConflictError(f"endpoint {name!r} was changed since you looked", hint="look again, and decide anew")
