"""What mlport knows of each deployed model, by Vertex AI's id of it: kept in the profile's state, also once it is gone.

Metrics and captured requests know that id only, and an endpoint forgets the name with the deployment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from mlport.spi import Json, StateStore
from mlport_vertex.names import last

FOLDER = "vertex/deployments"


def speaks_v2(route: str) -> bool:
    """Whether what answers at a route is asked in the Open Inference Protocol."""
    return route.endswith("/infer")


@dataclass(frozen=True, slots=True)
class Deployed:
    """One deployment. `columns` are the model's, with MLflow's types, in the order of its signature; empty if it has none."""

    name: str
    model: str
    version: str
    runtime: str = "prebuilt"
    route: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    copy: str = ""

    @property
    def speaks_v2(self) -> bool:
        """Whether it is asked in the Open Inference Protocol."""
        return speaks_v2(self.route)

    @property
    def takes_lists(self) -> bool:
        """Whether it knows columns by their position only, as Google's prebuilt images do."""
        return not self.route


class DeployedModels:
    """The deployments of one profile. What is known of an id never changes, and is read once."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._known: dict[tuple[str, str], Deployed] = {}

    def put(self, endpoint: str, number: str, deployed: Deployed) -> None:
        self._state.put(f"{FOLDER}/{endpoint}/{number}", json.dumps(asdict(deployed)).encode())

    def of(self, endpoint: Json) -> Mapping[str, Deployed]:
        """Those of an endpoint as Vertex AI tells it, by id. One that mlport did not make is described by what is told."""
        name = last(endpoint["name"])
        told = {each["id"]: each for each in endpoint.get("deployedModels", ())}
        return {number: self._look(name, number) or _told(each) for number, each in told.items()}

    def named(self, endpoint: str, numbers: Iterable[str]) -> Mapping[str, Deployed]:
        """Those of some ids, of past deployments too; an id that nobody knows stands for itself."""
        return {number: self._look(endpoint, number) or Deployed(number, "", "") for number in numbers}

    def _look(self, endpoint: str, number: str) -> Deployed | None:
        key = (endpoint, number)
        if key not in self._known:
            found = self._state.get(f"{FOLDER}/{endpoint}/{number}")
            if found is None:
                return None
            content = json.loads(found.value)
            self._known[key] = Deployed(**{**content, "columns": tuple((name, kind) for name, kind in content["columns"])})
        return self._known[key]


def _told(deployed: Json) -> Deployed:
    model, _, version = str(deployed["model"]).rpartition("/")[2].partition("@")
    return Deployed(deployed.get("displayName") or deployed["id"], model, str(deployed.get("modelVersionId") or version))


def columns_of(signature: Json | None) -> tuple[tuple[str, str], ...]:
    """Names and MLflow's types of a signature's inputs; none where they have no names.

    >>> columns_of({"inputs": [{"type": "double", "name": "x"}]})
    (('x', 'double'),)
    """
    inputs: Sequence[Json] = (signature or {}).get("inputs") or ()
    return tuple((column["name"], str(column.get("type", ""))) for column in inputs) if all("name" in column for column in inputs) else ()
