"""Clusters of the Databricks emulator, their libraries and policies, through the SDK unmodified and by plain calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aids.databricks.jobs import RUNNABLE, ask, ended, printed, put, python, submit, until, volume, wheel
from aids.databricks.place import PLAIN_TOKEN, Sdk, call, emulator, error, sdk  # noqa: F401 - fixtures

from mlport.emulation.server import Ready
from mlport.waiting import wait_until

CLUSTERS = "/api/2.1/clusters"
SIZE = {"spark_version": "16.4.x-scala2.12", "node_type_id": "m5.xlarge", "num_workers": 1}


def test_the_life_of_a_cluster_by_the_sdk(sdk: Sdk) -> None:  # noqa: F811
    program = """
        import json, time
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.service.compute import ListClustersFilterBy, ClusterSource, State

        w = WorkspaceClient()
        version, node = w.clusters.select_spark_version(long_term_support=True), w.clusters.select_node_type(local_disk=True, min_cores=4)
        made = w.clusters.create(cluster_name="mine", spark_version=version, node_type_id=node, num_workers=1, custom_tags={"a": "b"}).result()
        said = [version, node, made.state.value, made.driver_node_type_id, made.aws_attributes.availability.value]
        def runs():  # the SDK's own wait looks a second later for the first time
            while w.clusters.get(made.cluster_id).state != State.RUNNING:
                time.sleep(0.05)

        w.clusters.resize(cluster_id=made.cluster_id, num_workers=2)
        runs()
        w.clusters.edit(cluster_id=made.cluster_id, spark_version=version, node_type_id=node, num_workers=3)
        runs()
        w.clusters.pin(made.cluster_id)
        gone = w.clusters.delete(made.cluster_id).result()
        said += [gone.num_workers, gone.state.value, gone.termination_reason.code.value]
        w.clusters.ensure_cluster_is_running(made.cluster_id)
        said.append([c.cluster_id == made.cluster_id for c in w.clusters.list(filter_by=ListClustersFilterBy(cluster_sources=[ClusterSource.API]))])
        said.append([e.type.value for e in w.clusters.events(made.cluster_id, limit=4)])
        w.clusters.permanent_delete(made.cluster_id)
        try:
            w.clusters.get(made.cluster_id)
        except Exception as error:
            said.append(type(error).__name__)
        print(json.dumps(said))
    """
    said = json.loads(sdk(program))
    assert said[:8] == ["16.4.x-scala2.12", "c5ad.xlarge", "RUNNING", "c5ad.xlarge", "SPOT_WITH_FALLBACK", 3, "TERMINATED", "USER_REQUEST"]
    assert said[8] == [True]
    assert said[9][::-1][:6] == ["CREATING", "RUNNING", "RESIZING", "RUNNING", "EDITED", "RUNNING"]
    assert said[10] == "ResourceDoesNotExist"


def test_another_user_may_not(emulator: Ready) -> None:  # noqa: F811
    cluster_id = ask(emulator, "POST", f"{CLUSTERS}/create", SIZE)["cluster_id"]
    assert call(emulator, "POST", f"{CLUSTERS}/create", SIZE, token=PLAIN_TOKEN)[0] == 403
    assert call(emulator, "POST", f"{CLUSTERS}/delete", {"cluster_id": cluster_id}, token=PLAIN_TOKEN)[0] == 403
    assert "clusters" not in ask(emulator, "GET", f"{CLUSTERS}/list", token=PLAIN_TOKEN)
    ask(emulator, "POST", f"{CLUSTERS}/start", {"cluster_id": cluster_id})  # nothing happens to one that runs
    status, said = call(emulator, "POST", f"{CLUSTERS}/start", {"cluster_id": "nobody"})
    assert (status, *error(said)) == (400, "INVALID_PARAMETER_VALUE", "Cluster nobody does not exist")


@RUNNABLE
def test_libraries_of_a_cluster_are_there_for_its_tasks(emulator: Ready, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: F811
    monkeypatch.setenv("UV_OFFLINE", "1")
    volume(emulator, "emuother-1-py3-none-any.whl").write_bytes(wheel(tmp_path, "emuother"))
    cluster_id = ask(emulator, "POST", f"{CLUSTERS}/create", SIZE)["cluster_id"]
    libraries = [{"whl": "/Volumes/main/ml/mlport/emuother-1-py3-none-any.whl"}, {"pypi": {"package": "no-such-package-of-mlport"}}]
    ask(emulator, "POST", "/api/2.0/libraries/install", {"cluster_id": cluster_id, "libraries": libraries})
    path = f"/api/2.0/libraries/cluster-status?cluster_id={cluster_id}"
    found = wait_until(
        lambda: ask(emulator, "GET", path)["library_statuses"],
        lambda each: not {"PENDING", "INSTALLING"} & {one["status"] for one in each},
        timeout=60,
        what="the libraries",
    )
    assert [each["status"] for each in found] == ["INSTALLED", "FAILED"]
    assert "no-such-package-of-mlport" in found[1]["messages"][0]
    program = put(emulator, "/Shared/uses.py", "import emuother; emuother.main()")
    run = ended(emulator, submit(emulator, python(program, existing_cluster_id=cluster_id)))
    assert printed(emulator, run) == "emuother\n"
    ask(emulator, "POST", "/api/2.0/libraries/uninstall", {"cluster_id": cluster_id, "libraries": libraries})
    assert {each["status"] for each in ask(emulator, "GET", path)["library_statuses"]} == {"UNINSTALL_ON_RESTART"}
    assert printed(emulator, ended(emulator, submit(emulator, python(program, existing_cluster_id=cluster_id)))) == "emuother\n"
    ask(emulator, "POST", f"{CLUSTERS}/restart", {"cluster_id": cluster_id})
    wait_until(lambda: ask(emulator, "GET", path).get("library_statuses"), lambda each: not each, timeout=60, what="their end")
    gone = ended(emulator, submit(emulator, python(program, existing_cluster_id=cluster_id)))
    assert "No module named 'emuother'" in printed(emulator, gone)
    lost = submit(
        emulator,
        python(put(emulator, "/Shared/long.py", "import time; print('on', flush=True); time.sleep(1000)"), existing_cluster_id=cluster_id),
    )
    until(emulator, lost, lambda run: run["state"]["life_cycle_state"] == "RUNNING")
    ask(emulator, "POST", f"{CLUSTERS}/delete", {"cluster_id": cluster_id})
    assert ended(emulator, lost)["status"]["termination_details"]["code"] == "CLUSTER_ERROR"


def test_policies_and_pools_are_kept(emulator: Ready) -> None:  # noqa: F811
    policy = ask(emulator, "POST", "/api/2.0/policies/clusters/create", {"name": "p", "definition": "{}"})["policy_id"]
    assert ask(emulator, "GET", f"/api/2.0/policies/clusters/get?policy_id={policy}")["name"] == "p"
    ask(emulator, "POST", f"{CLUSTERS}/create", {**SIZE, "policy_id": policy})
    ask(emulator, "POST", "/api/2.0/policies/clusters/delete", {"policy_id": policy})
    assert error(call(emulator, "POST", f"{CLUSTERS}/create", {**SIZE, "policy_id": policy})[1])[1].startswith(
        "Can't find a cluster policy"
    )
    assert call(emulator, "POST", "/api/2.0/policies/clusters/create", {"name": "p", "definition": "["})[0] == 400
    pool = ask(emulator, "POST", "/api/2.0/instance-pools/create", {"instance_pool_name": "i", "node_type_id": "m5.xlarge"})[
        "instance_pool_id"
    ]
    ask(emulator, "POST", f"{CLUSTERS}/create", {"spark_version": "16.4.x-scala2.12", "instance_pool_id": pool, "num_workers": 1})


def test_every_node_type_of_the_adapter_is_known(emulator: Ready) -> None:  # noqa: F811
    from mlport_databricks.compute.nodes import market
    from mlport_databricks.config import DatabricksConfig

    url = "databricks://acme.cloud.databricks.com/main/ml?state=s3://acme-ml/mlport&region=us-east-1"
    machines = market(DatabricksConfig.from_url(url)).machines
    assert machines
    known = {node["node_type_id"]: node for node in ask(emulator, "GET", f"{CLUSTERS}/list-node-types")["node_types"]}
    for fact in machines:
        assert (known[fact.sku]["num_cores"], known[fact.sku]["memory_mb"]) == (fact.vcpus, int(fact.memory_gib * 1024))
