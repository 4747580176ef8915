"""The table of calls against Google's published description, and the two ways of calling against each other."""

from __future__ import annotations

import pytest

pytest.importorskip("googleapiclient", reason="needs google-api-python-client: it ships the description")

from mlport_vertex.emulator.protocol.discovery import document
from mlport_vertex.google.api import _fields
from mlport_vertex.google.calls import CALLS, Rpc

PARENT = "projects/p/locations/l"


@pytest.mark.parametrize("name", CALLS)
def test_each_call_is_one_of_googles(name: str) -> None:
    rpc, kinds = CALLS[name], name.split(".")[:-1]
    if rpc.field == "parent" or name == "operations.list":
        kinds = kinds[:-1]
    resource = "/".join([PARENT, *(f"{kind}/1" for kind in kinds)])
    found = document(f"aiplatform.{rpc.version}").match(rpc.verb, f"{rpc.version}/{resource}{rpc.suffix}")
    assert found is not None
    assert found[0].id == f"aiplatform.projects.locations.{name}"
    assert bool(rpc.body) == bool(found[0].request)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_not_repeatable_makes_something(name: str) -> None:
    makes = name.rpartition(".")[2] in ("create", "upload", "deployModel", "undeployModel", "mutateDeployedModel")
    assert CALLS[name].repeatable != makes


def test_the_resource_goes_where_grpc_has_it() -> None:
    rpc = Rpc("ModelService", "UpdateModel", "PATCH", "", "model", "model.name")
    fields = _fields(rpc, "projects/p/locations/l/models/m", {"labels": {"a": "b"}}, {"updateMask": "labels"})
    assert fields == {"model": {"labels": {"a": "b"}, "name": "projects/p/locations/l/models/m"}, "updateMask": "labels"}
