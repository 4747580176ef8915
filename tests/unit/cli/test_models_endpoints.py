"""The registry and endpoints from the command line."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest


@pytest.fixture
def version(mlport, model):
    """Two versions of a model, the second one the champion."""
    for alias in ([], ["--alias", "champion"]):
        assert mlport("models", "register", "delays", str(model), "--trust", "--tag", "team=ml", *alias).status == 0
    return "delays@champion"


@pytest.fixture
def endpoint(mlport, version):
    assert mlport("endpoints", "create", "late", version, "--deployment", "blue").status == 0
    return "late"


def test_register_from_a_job(mlport, model):
    mlport("jobs", "run", "--name", "a", "--wait", "true")
    found = mlport("models", "register", "delays", "--job", "a-1", "--alias", "champion", "--json").json
    assert (found["version"], found["aliases"], found["lineage"]["job"]) == ("1", ["champion"], "a-1")
    assert mlport("models", "register", "delays", "--job", "a-1", "--alias", "champion", "--json").json["version"] == "1"
    assert mlport("models", "lineage", "delays:1", "--json").json["job"] == "a-1"


def test_a_folder_is_refused_until_it_is_trusted(mlport, model):
    ran = mlport("models", "register", "delays", str(model), "--json")
    assert (ran.status, ran.json["error"]) == (2, "UntrustedModelError")
    assert "--trust" in ran.err


@pytest.mark.parametrize("args", [[], ["folder", "--job", "a-1"]])
def test_register_needs_one_source(mlport, args):
    assert mlport("models", "register", "delays", *args).status == 2


def test_versions_aliases_and_tags(mlport, version):
    assert [found["version"] for found in mlport("models", "versions", "delays", "--json").json] == ["2", "1"]
    assert mlport("models", "get", version, "--json").json["version"] == "2"
    assert mlport("models", "alias", "delays:1", "champion", "--json").json == {"name": "delays", "alias": "champion", "version": "1"}
    assert mlport("models", "get", version, "--json").json["version"] == "1"
    assert mlport("models", "tag", "delays:1", "stage=canary", "--remove", "team", "--json").json["tags"] == {"stage": "canary"}
    assert mlport("models", "tag", "delays:1").status == 2
    for _ in range(2):
        assert mlport("models", "drop-alias", "delays", "champion").status == 0
    assert mlport("models", "get", version).status == 2
    assert [found["name"] for found in mlport("models", "list", "--json").json] == ["delays"]


def test_approve_and_reject(mlport, version):
    assert mlport("models", "approve", version, "--reason", "fine", "--json").json["approval"] == "approved"
    assert "approved: fine" in mlport("models", "get", version).out
    mlport("models", "reject", version)
    assert mlport("models", "get", version, "--json").json["approval"] == "rejected: "


def test_download_verifies_and_refuses_to_overwrite(mlport, version, home):
    assert mlport("models", "download", version, "copy").status == 0
    assert (home / "copy" / "MLmodel").is_file()
    assert "exists already" in mlport("models", "download", version, "copy").err


def test_copy_to_another_profile(mlport, version, home):
    copied = mlport("models", "copy", version, "--to", f"tiny://{home.name}-other", "--json").json
    assert "copied_from" in copied["lineage"]
    assert mlport("models", "list", "-p", f"tiny://{home.name}-other", "--json").json[0]["name"] == "delays"


def test_delete_wants_a_version_and_may_be_repeated(mlport, version):
    assert "which version" in mlport("models", "delete", "delays").err
    for _ in range(2):
        assert mlport("models", "delete", "delays:2").status == 0
    assert [found["version"] for found in mlport("models", "versions", "delays", "--json").json] == ["1"]


def test_the_key_is_shown_once_and_then_only_when_asked(mlport, version):
    first = mlport("endpoints", "create", "late", version, "--json").json
    assert first["headers"] == {"authorization": "Bearer tiny-key-1"}
    for args in (["get", "late"], ["list"], ["create", "late", version]):
        ran = mlport("endpoints", *args)
        assert "tiny-key" not in ran.out + ran.err
    assert "tiny-key-1" in mlport("endpoints", "key", "late").out
    assert mlport("endpoints", "key", "late", "--rotate", "--json").json["headers"] == {"authorization": "Bearer tiny-key-2"}


def test_no_key_is_shown_where_none_is_asked_for(mlport, version):
    assert "headers" not in mlport("endpoints", "create", "late", version, "--auth", "none", "--json").json


def test_create_from_options(mlport, version):
    args = "--cpus 2 --memory 4GiB --capture-rate 0.5 --min-replicas 0 --max-replicas 3 --label team=ml --ttl 2h --env A=b"
    spec = mlport("endpoints", "create", "late", version, *args.split(), "--dry-run", "--json").json["spec"]
    replicas = spec["deployment"]["replicas"]
    assert (spec["capture"], replicas["min"], replicas["max"], spec["ttl"]) == ({"rate": 0.5}, 0, 3, 7200)
    assert spec["deployment"]["compute"]["cpus"] == 2
    assert mlport("endpoints", "list", "--json").json == []


def test_create_from_a_file(mlport, version, home):
    (home / "e.toml").write_text('[endpoint]\nname = "late"\n[endpoint.deployment]\nmodel = {name = "delays", version = "1"}\n')
    assert mlport("endpoints", "create", "e.toml", "--set", "deployment.name=blue", "--json").json["split"] == {"blue": 100}
    assert "--set" in mlport("endpoints", "create", "e.toml", "--cpus", "2").err
    assert mlport("endpoints", "create", "late").status == 2


def test_split_and_undeploy(mlport, endpoint):
    assert mlport("endpoints", "deploy", endpoint, "delays:1", "--deployment", "green", "--json").json["percent"] == 0
    assert mlport("endpoints", "set-traffic", endpoint, "blue=90", "green=10", "--json").json["split"] == {"blue": 90, "green": 10}
    wrong = mlport("endpoints", "set-traffic", endpoint, "blue=90", "green=9")
    assert (wrong.status, "sums to 99" in wrong.err) == (2, True)
    assert mlport("endpoints", "set-traffic", endpoint, "blue=50", "blue=50").status == 2
    mlport("endpoints", "set-traffic", endpoint, "blue=100")
    for _ in range(2):
        assert mlport("endpoints", "undeploy", endpoint, "green").status == 0
    for _ in range(2):
        assert mlport("endpoints", "delete", endpoint).status == 0
    assert mlport("endpoints", "get", endpoint).status == 2


def test_predict(mlport, endpoint, home):
    (home / "rows.csv").write_text("a,b\n1,2\n3,\n")
    ran = mlport("endpoints", "predict", endpoint, "--file", "rows.csv")
    assert (ran.out, ran.err) == ("3\n3\n", "request r0, answered by blue\n")
    found = mlport("endpoints", "predict", endpoint, "--data", '{"a": 2}', "--deployment", "green", "--json").json
    assert found == {"predictions": [2], "request_id": "r2", "deployment": "green", "version": "1"}
    assert mlport("endpoints", "predict", endpoint).status == 2
    assert "not json" in mlport("endpoints", "predict", endpoint, "--data", "[{").err


def test_predict_reads_standard_input(process, environment, mlport, endpoint, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("a\n1\n"))
    assert mlport("endpoints", "predict", endpoint, "--file", "-", "--format", "csv").out == "1\n"


def test_labels_and_capture(mlport, endpoint, home):
    for value in (1, 2):
        mlport("endpoints", "predict", endpoint, "--data", json.dumps([{"a": value}, {"a": 10 * value}]))
    assert mlport("endpoints", "label", endpoint, "--request-id", "r0", "1", "0", "--json").json == {
        "name": "late",
        "labels": 2,
        "requests": 1,
    }
    (home / "truth.csv").write_text("request_id,row,label\nr2,1,1\nr2,0,0\n")
    assert mlport("endpoints", "label", endpoint, "--file", "truth.csv").out == "stored 2 labels for 1 requests\n"
    rows = mlport("endpoints", "captured", endpoint, "--last", "1h", "--labelled", "--json").json
    assert [(row["provider_id"], row["row"], row["label"]) for row in rows] == [("r0", 0, 1), ("r0", 1, 0), ("r2", 0, 0), ("r2", 1, 1)]
    assert mlport("endpoints", "label", endpoint, "--request-id", "r0").status == 2


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl"])
def test_captured_to_a_file(mlport, endpoint, home, name):
    mlport("endpoints", "predict", endpoint, "--data", '[{"a": 1}, {"a": 2}]')
    assert mlport("endpoints", "captured", endpoint, "--out", name, "--json").json == {"rows": 2, "file": name}
    if name.endswith("parquet"):
        assert pq.read_table(home / name).num_rows == 2
    else:
        assert len((home / name).read_text().splitlines()) == (3 if name.endswith("csv") else 2)


def test_captured_refuses_another_form(mlport, endpoint):
    assert mlport("endpoints", "captured", endpoint, "--out", "out.xls").status == 2


def test_observe(mlport, endpoint):
    mlport("endpoints", "predict", endpoint, "--data", '{"a": 1}')
    found = mlport("endpoints", "observe", endpoint, "--last", "1h", "--json").json
    assert found["deployments"][0]["requests"] == 1
    assert (found["deployments"][0]["p50_ms"], found["deployments"][0]["p99_ms"]) == (10, 10)
    assert found["complete_until"].endswith("Z")
    assert "complete until" in mlport("endpoints", "observe", endpoint).err


def test_batch_predict_is_a_job(mlport, endpoint, home):
    (home / "rows.csv").write_text("a\n1\n")
    ran = mlport("endpoints", "batch-predict", endpoint, "rows.csv", "out", "--keep", "a", "--json")
    assert (ran.json["kind"], ran.json["state"]) == ("batch", "SUCCEEDED")
    assert mlport("endpoints", "batch-predict", endpoint, "rows.csv", "out", "--no-wait", "-q").out == "late-batch-2\n"
