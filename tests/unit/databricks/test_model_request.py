"""Plans of registrations: pure, equal to the golden, and refused up front where Unity Catalog's clients would refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlport.errors import SpecError, UntrustedModelError
from mlport.specs import ModelSpec
from mlport.spi import TOKEN, Facts, Plan
from mlport_databricks import PROVIDER
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.models import _checked
from mlport_databricks.registry.model_files import ENVELOPE, describe
from mlport_databricks.registry.model_request import PLAIN, described, refuse_signature

CONFIG = DatabricksConfig.model_validate(
    {
        "host": "acme.cloud.databricks.com",
        "catalog": "main",
        "schema": "ml",
        "state": "s3://acme/mlport",
        "region": "eu-central-1",
        "token": "dapi0",
        "profile": "prod",
        "owner": "ada",
    }
)
STAMPS = {"mlport": "delays", "mlport_profile": "prod", "mlport_owner": "ada", "mlport_token": TOKEN}
GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "databricks" / "model.json").read_text())["requests"]
WHOLE = {"inputs": [{"type": "double", "name": "x"}], "outputs": [{"type": "long"}]}
OUTPUT = "dbfs:///Volumes/main/ml/mlport/jobs/${job_token}/outputs/model"


def registered(spec: ModelSpec, looked: Any = None, **model: Any) -> Plan:
    return PROVIDER.plan(CONFIG, spec, Facts(labels=STAMPS, model={"lineage": {}, **model}, machine=looked))


def body(made: Plan, call: str) -> dict[str, Any]:
    return next(request.body for request in made.requests if request.call.endswith(call))


def test_the_plan_is_the_golden_but_for_the_alias_which_is_a_call_of_its_own() -> None:
    spec = ModelSpec(name="delays", path=OUTPUT, job_id="${run_id}")
    made = registered(spec, lineage={"bundle": "9f2c"})
    found = [{"call": each.call, "method": each.method, "path": each.path, "body": each.body} for each in made.requests]
    assert found == GOLDEN[:-1]
    assert made == registered(spec, lineage={"bundle": "9f2c"})


def test_a_model_that_is_there_is_not_made_again() -> None:
    calls = [
        request.call.rpartition(".")[2]
        for request in registered(ModelSpec(name="m", path="/m"), {"exists": True, "mlflow": False}).requests
    ]
    assert calls == ["CreateModelVersion", "GenerateTemporaryModelVersionCredentials", "FinalizeModelVersion"]


def test_tags_and_digest_are_tags_of_the_version_and_the_token_is_in_the_description() -> None:
    made = registered(ModelSpec(name="m", path="/m", tags={"stage": "ready", "note": "é"}), digest="c0ffee")
    version = body(made, "CreateModelVersion")
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert (tags["stage"], tags["note"], tags["mlport_digest"], tags["mlport_token"]) == ("ready", "é", "c0ffee", TOKEN)
    assert version["description"].startswith(f"mlport {TOKEN}\n")
    assert "mlport_token" not in {tag["key"] for tag in body(made, "CreateRegisteredModel")["tags"]}, "a model has many versions"


@pytest.mark.parametrize("tag", ["mlport_mine", "a.b", "a-b", "a:b", "a=b", "a/b", "a,b", " a", "a ", "", "x" * 256])
def test_a_tag_that_unity_catalog_does_not_take_is_refused(tag: str) -> None:
    with pytest.raises(SpecError, match="tags"):
        registered(ModelSpec(name="m", path="/m", tags={tag: "1"}))


def test_too_long_and_too_many_tags_are_refused() -> None:
    for tags in ({"a": "x" * 1001}, {f"t{number}": "" for number in range(41)}):
        with pytest.raises(SpecError, match="tags"):
            registered(ModelSpec(name="m", path="/m", tags=tags))


@pytest.mark.parametrize(
    ("signature", "missing"),
    [(None, "inputs and outputs"), ({"inputs": WHOLE["inputs"]}, "outputs"), ({"outputs": WHOLE["outputs"]}, "inputs")],
)
def test_an_mlflow_model_needs_a_whole_signature(signature: Any, missing: str) -> None:
    looked = {"exists": False, "mlflow": True, "flavors": ["python_function"], "signature": signature}
    with pytest.raises(SpecError, match=f"without {missing};"):
        registered(ModelSpec(name="m", path="/m"), looked)
    assert registered(ModelSpec(name="m", path="/m"), {**looked, "signature": WHOLE}).kind == "model"


def test_what_is_no_mlflow_model_is_said_to_be_none_and_goes_inside_of_one() -> None:
    assert PLAIN in registered(ModelSpec(name="m", path="/m"), {"exists": False, **describe(None)}).notes
    declared = describe(ENVELOPE.encode())
    assert declared["flavors"] == ["mlport_files"]
    refuse_signature(declared["signature"])


def test_mlflow_itself_takes_the_envelope(tmp_path: Path) -> None:
    """The very check that MLflow makes before it registers in Unity Catalog."""
    store = pytest.importorskip("mlflow.store._unity_catalog.registry.rest_store")
    (tmp_path / "MLmodel").write_text(ENVELOPE)
    store.UcModelRegistryStore._validate_model_signature(None, str(tmp_path))


def test_files_from_elsewhere_are_refused() -> None:
    with pytest.raises(UntrustedModelError):
        registered(ModelSpec(name="m", path="/m"), trusted=False)
    with pytest.raises(SpecError, match="volume"):
        registered(ModelSpec(name="m", path="s3://bucket/model"))


@pytest.mark.parametrize("alias", ["latest", "Latest", "v1", "V20", "a b", "a.b", "", "é"])
def test_an_alias_that_unity_catalog_keeps_or_does_not_take_is_refused(alias: str) -> None:
    with pytest.raises(SpecError, match="alias"):
        _checked(alias)
    assert [_checked(good) for good in ("champion", "v1-blue", "latest_stable")] == ["champion", "v1-blue", "latest_stable"]


def test_an_unreadable_description_of_a_model_is_said_to_be_so() -> None:
    for content in (b"\xff", b"[1]", b"a: [", b"flavors: {}\nsignature: {inputs: 'no json'}"):
        with pytest.raises(SpecError, match="MLmodel"):
            describe(content)


def test_a_description_is_one_line_of_ours_and_the_record() -> None:
    first, record = described("t", {"digest": "é"}).split("\n")
    assert (first, json.loads(record)) == ("mlport t", {"digest": "é"})
