"""What custom jobs, tuning jobs and training pipelines have in common: get, list, cancel and delete, and the faults of create."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mlport.emulation.faults import of_effect
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.errors import ApiError, not_found
from mlport_vertex.emulator.protocol.long_running import EMPTY, Work
from mlport_vertex.emulator.protocol.resources import listing, normal

Json = dict[str, Any]
QUOTA = "aiplatform.googleapis.com/custom_model_training_cpus"


@dataclass(frozen=True, slots=True)
class Noun:
    """A kind of resource that works until it has ended.

    `look` gives it as it is now, None where there is none. `forget` removes an ended one; False says that it is to be asked
    again, for what worked for it is not quite gone.
    """

    kind: str
    singular: str
    ended: Collection[str]
    look: Callable[[str], Json | None]
    cancel: Callable[[str], None]
    forget: Callable[[str], bool]


def handlers(place: Place, noun: Noun) -> Mapping[str, Handler]:
    """All methods but create, by their ids."""

    def found(request: Request) -> Json:
        name = normal(request.name)
        body = noun.look(name)
        if body is None:
            raise not_found(noun.singular, name)
        return body

    def get(request: Request) -> Json:
        return found(request)

    def show(request: Request) -> Any:
        return listing(place, request, noun.kind, noun.kind)

    def cancel(request: Request) -> Json:
        body = found(request)
        if body["state"] in noun.ended:
            raise _not_in_state(noun, body, "canceled")
        noun.cancel(body["name"])
        return {}

    def delete(request: Request) -> Json:
        body = found(request)
        if body["state"] not in noun.ended:
            raise _not_in_state(noun, body, "deleted")
        return place.operations.begin(body["name"], "DeleteOperationMetadata", f"{noun.kind}.delete", {})

    def forget(work: Work) -> Json | None:
        return EMPTY if noun.forget(work.resource) else None

    place.operations.register(f"{noun.kind}.delete", forget)
    methods = {"get": get, "list": show, "cancel": cancel, "delete": delete}
    return {f"aiplatform.projects.locations.{noun.kind}.{name}": handler for name, handler in methods.items()}


def _not_in_state(noun: Noun, body: Json, done: str) -> ApiError:
    """That it is refused, and in these words, is a guess."""
    return ApiError("FAILED_PRECONDITION", f"The {noun.singular} {body['name']} is in state {body['state']} and cannot be {done}.")


def refuse_over_quota(request: Request) -> None:
    """The fault "quota". The message is one seen in public (GoogleCloudPlatform/stable-diffusion-on-gcp, issue 12)."""
    if of_effect(request.call.befallen, "quota"):
        reason = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RESOURCE_QUOTA_EXCEEDED",
            "domain": "aiplatform.googleapis.com",
            "metadata": {"quota_metric": QUOTA},
        }
        raise ApiError("RESOURCE_EXHAUSTED", f"The following quota metrics exceed quota limits: {QUOTA}", [reason])


def faults_of(request: Request) -> Json:
    """What the faults of the call that creates a job do to the job itself."""
    befallen = request.call.befallen
    preempted = [rule.seconds for rule in befallen if rule.effect == "preempt"]
    return {
        **({"preempt": preempted} if preempted else {}),
        **({"restart": True} if of_effect(befallen, "restart") else {}),
    }
