"""The registry on MLflow: versions that are whole or absent, found again by token, and seen by MLflow's own client."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlport.bundle import tree_digest
from mlport.errors import (
    ConflictError,
    InputChangedError,
    InvalidRequestError,
    NotFoundError,
    SpecError,
    UnsupportedError,
    UntrustedModelError,
)
from mlport.specs import ModelSpec
from mlport.spi import TOKEN, Facts, Models, Operation, Plan, Query, Request, State
from mlport_local.config import LocalConfig
from mlport_local.models import LocalModels
from mlport_local.registry import model_files, model_records, tracking
from mlport_local.registry.model_request import model_request
from mlport_local.registry.model_search import ClientReads, Reads, reads, search_filter


@pytest.fixture
def config(tmp_path: Path) -> LocalConfig:
    return LocalConfig(root=tmp_path / "root")


@pytest.fixture
def models(config: LocalConfig) -> LocalModels:
    return LocalModels(config)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is not an MLflow model, which is allowed and quick."""
    made = tmp_path / "made"
    made.joinpath("deep").mkdir(parents=True)
    made.joinpath("deep", "weights.bin").write_bytes(bytes(range(256)))
    made.joinpath("readme.txt").write_text("a model")
    return made


def plan_for(config: LocalConfig, path: Path | str, name: str = "delays", *, lineage: dict[str, Any] | None = None, **fields: Any) -> Plan:
    spec = ModelSpec(name=name, path=str(path), **fields)
    local = Path(path)
    digest = tree_digest(local) if local.is_dir() else None
    labels = {"mlport": "1", "mlport_owner": "ada", "mlport_token": TOKEN}
    facts = Facts(labels=labels, model={"digest": digest, "lineage": lineage or {}, "trusted": True})
    request = Request("registry.create_version", model_request(spec, facts, config))
    return Plan("local", config.target, "model", name, spec.to_json(), facts, (request,))


def made_by(config: LocalConfig, folder: Path) -> Callable[..., str]:
    """Register the folder a number of times; gives the last version."""
    counter = iter(range(1000))

    def register(times: int = 1, **fields: Any) -> str:
        for _ in range(times):
            operation = LocalModels(config).register(plan_for(config, folder, **fields), token=f"{next(counter):032x}")
        return operation.id.rpartition("/")[2]

    return register


def kept(config: LocalConfig) -> list[Path]:
    return sorted((config.layout.artifacts / "models").glob("*/*"))


# ---------------------------------------------------------------- the request


def test_the_request_is_pure_and_plain(config: LocalConfig, folder: Path) -> None:
    body = plan_for(config, folder, tags={"team": "ops"}, lineage={"bundle": "b"}, job_id="delays-1").requests[0].body
    assert json.loads(json.dumps(body)) == body
    assert body["token"] == TOKEN
    assert (body["tags"], body["lineage"], body["job"]) == ({"team": "ops"}, {"bundle": "b"}, "delays-1")
    assert not config.root.exists()


def test_a_model_from_elsewhere_is_refused(config: LocalConfig) -> None:
    with pytest.raises(UntrustedModelError, match=r"ModelSpec\.path: /elsewhere"):
        model_request(ModelSpec(name="delays", path="/elsewhere"), Facts(model={"trusted": False}), config)


def test_mlports_own_tags_are_refused(config: LocalConfig, folder: Path) -> None:
    with pytest.raises(SpecError, match=r"mlport\.digest"):
        plan_for(config, folder, tags={"mlport.digest": "x"})


# ---------------------------------------------------------------- registering


def test_register_then_get(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    plan = plan_for(config, folder, tags={"team": "ops"}, lineage={"git": {"dirty": True}}, description="first")
    operation = models.register(plan, token="a" * 32)
    assert operation == Operation("model/delays/1", "model.register", "delays")
    version = models.get("delays", "1")
    assert (version.name, version.version, version.digest) == ("delays", "1", tree_digest(folder))
    assert (version.tags, version.lineage, version.description) == ({"team": "ops"}, {"git": {"dirty": True}}, "first")
    assert (version.flavors, version.signature) == ((), None)
    assert version.created is not None
    assert version.created.tzinfo is not None
    assert models.operation(operation.id).state is State.SUCCEEDED
    assert models.operation(operation.id).result == "1"


def test_the_copy_is_apart_from_what_made_it(config: LocalConfig, models: LocalModels, folder: Path, tmp_path: Path) -> None:
    models.register(plan_for(config, folder), token="a" * 32)
    folder.joinpath("readme.txt").write_text("overwritten by the next training")
    copied = models.download("delays", "1", tmp_path / "copy")
    assert copied.joinpath("readme.txt").read_text() == "a model"
    assert tree_digest(copied) == models.get("delays", "1").digest


def test_the_same_token_is_the_same_version(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    plan = plan_for(config, folder)
    first, again, other = (models.register(plan, token=token * 32) for token in "aab")
    assert (first, other.id) == (again, "model/delays/2")
    assert models.find("a" * 32) == first
    assert models.find("c" * 32) is None


def test_a_crash_before_the_version_is_made_is_completed_by_the_same_token(
    config: LocalConfig, models: LocalModels, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LocalModels, "_create", crash)
        with pytest.raises(KeyboardInterrupt):
            models.register(plan_for(config, folder), token="a" * 32)
    assert models.find("a" * 32) is None
    kept(config)[0].joinpath("half").write_text("left by the crash")
    models.register(plan_for(config, folder), token="a" * 32)
    assert [path.name for path in kept(config)] == ["a" * 32]
    assert sorted(path.name for path in kept(config)[0].iterdir()) == ["files", "mlflow"]
    assert tree_digest(kept(config)[0] / "files") == models.get("delays", "1").digest


def test_files_that_changed_since_the_plan_are_refused(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    plan = plan_for(config, folder)
    folder.joinpath("readme.txt").write_text("something else")
    with pytest.raises(InputChangedError, match="changed since the plan was made"):
        models.register(plan, token="a" * 32)
    assert models.find("a" * 32) is None
    assert kept(config) == []


def test_what_is_not_a_folder_of_files_is_refused(config: LocalConfig, models: LocalModels, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not a folder"):
        models.register(plan_for(config, tmp_path / "nowhere"), token="a" * 32)
    tmp_path.joinpath("empty").mkdir()
    with pytest.raises(SpecError, match="holds no files"):
        models.register(plan_for(config, "file://" + str(tmp_path / "empty")), token="b" * 32)


def test_a_broken_mlmodel_is_refused(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    folder.joinpath("MLmodel").write_text("flavors: [unclosed")
    with pytest.raises(SpecError, match="MLmodel cannot be read"):
        models.register(plan_for(config, folder), token="a" * 32)


def test_long_lineage_survives(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    lineage = {"packages": {f"package-{number}": "1.0 é" for number in range(5000)}}
    models.register(plan_for(config, folder, lineage=lineage), token="a" * 32)
    assert models.get("delays", "1").lineage == lineage


@pytest.mark.parametrize("length", [0, 1, model_records.CHUNK, model_records.CHUNK + 1, 3 * model_records.CHUNK])
def test_split_and_join(length: int) -> None:
    text = "".join(chr(97 + number % 26) for number in range(length))
    parts = model_records.split("k", text)
    assert model_records.join("k", {**parts, "k.other": "x"}) == text
    assert all(len(part) <= model_records.CHUNK for part in parts.values())


def test_two_processes_with_one_token_make_one_version(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    tracking.client(config)
    code = """if True:
        import pickle, sys
        from mlport_local.models import LocalModels
        config, plan = pickle.loads(bytes.fromhex(sys.argv[1]))
        print(LocalModels(config).register(plan, token="a" * 32).id)
    """
    argument = pickle.dumps((config, plan_for(config, folder))).hex()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "ignore", "-c", code, argument]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert {process.communicate(timeout=60)[0] for process in running} == {"model/delays/1\n"}
    assert len(models.versions("delays", Query()).items) == 1


# ---------------------------------------------------------------- reading


def test_what_is_absent_is_not_found(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    made_by(config, folder)()
    for look in (
        lambda: models.get("delays", "9"),
        lambda: models.get("delays", "champion"),
        lambda: models.get("nothing", "1"),
        lambda: models.resolve("delays", "champion"),
        lambda: models.resolve("nothing", "champion"),
        lambda: models.resolve("nothing", "latest"),
        lambda: models.versions("nothing", Query()),
        lambda: models.set_alias("delays", "champion", "9"),
        lambda: models.operation("model/delays/9"),
    ):
        with pytest.raises(NotFoundError):
            look()


@pytest.fixture(params=["database", "client"])
def way(request: pytest.FixtureRequest, config: LocalConfig) -> Callable[[], Reads]:
    """Both ways of reading must answer alike."""
    return lambda: reads(tracking.client(config)) if request.param == "database" else ClientReads(tracking.client(config))


def test_versions_page_by_page_while_new_ones_come(
    config: LocalConfig, models: LocalModels, folder: Path, way: Callable[[], Reads]
) -> None:
    register = made_by(config, folder)
    register(5)
    models.set_alias("delays", "champion", "4")
    models.delete("delays", "2")
    first = way().versions("delays", Query(page_size=2), None)
    register()
    second = way().versions("delays", Query(page_size=2), first.next)
    assert [version.version for version in (*first.items, *second.items)] == ["5", "4", "3", "1"]
    assert [version.aliases for version in first.items] == [(), ("champion",)]
    assert second.next is None
    oldest = way().versions("delays", Query(page_size=1, newest_first=False), None)
    assert (oldest.items[0].version, oldest.next) == ("1", "1")
    assert oldest.items[0] == models.get("delays", "1")


def test_versions_by_label(config: LocalConfig, folder: Path, way: Callable[[], Reads]) -> None:
    register = made_by(config, folder)
    register(tags={"team": "ops", "stage": "try"})
    register(tags={"team": "it's"})
    register(job_id="delays-7")
    for labels, expected in (
        ({"team": "ops"}, ["1"]),
        ({"team": "it's"}, ["2"]),
        ({"team": "ops", "stage": "try"}, ["1"]),
        ({"team": "ops", "stage": "no"}, []),
        ({"mlport.job": "delays-7"}, ["3"]),
        ({"mlport_owner": "ada", "mlport_token": f"{0:032x}"}, ["1"]),
    ):
        assert [version.version for version in way().versions("delays", Query(labels=labels), None).items] == expected


def test_models_page_by_page(config: LocalConfig, models: LocalModels, folder: Path, way: Callable[[], Reads]) -> None:
    register = made_by(config, folder)
    for name in ("one", "two", "three"):
        register(2, name=name)
    models.set_alias("two", "champion", "1")
    models.delete("two", "2")
    first = way().models(Query(page_size=2), None)
    second = way().models(Query(page_size=2), first.next)
    assert first.next is not None
    assert second.next is None
    found = {model.name: model for model in (*first.items, *second.items)}
    assert {name: model.latest_version for name, model in found.items()} == {"one": "2", "two": "1", "three": "2"}
    assert found["two"].aliases == {"champion": "1"}
    assert [model.name for model in way().models(Query(name="one", labels={"mlport_owner": "ada"}), None).items] == ["one"]
    assert way().models(Query(labels={"mlport_owner": "bob"}), None).items == []
    assert way().models(Query(name="none"), None).items == []


def test_find_by_either_way(config: LocalConfig, models: LocalModels, folder: Path, way: Callable[[], Reads]) -> None:
    made_by(config, folder)(2)
    assert way().find(model_records.TOKEN_TAG, f"{1:032x}") == ("delays", "2")
    models.delete("delays", "2")
    assert way().find(model_records.TOKEN_TAG, f"{1:032x}") is None


def test_a_value_with_both_quotes_cannot_be_searched_for() -> None:
    with pytest.raises(SpecError, match="both kinds of quote"):
        search_filter(name="""a'b"c""")


# ---------------------------------------------------------------- changing


def test_aliases_move_and_go(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    made_by(config, folder)(2)
    models.set_alias("delays", "champion", "1")
    models.set_alias("delays", "champion", "2")
    models.set_alias("delays", "blessed", "2")
    assert models.resolve("delays", "champion") == models.resolve("delays", "latest") == "2"
    assert models.get("delays", "2").aliases == ("blessed", "champion")
    assert models.get("delays", "1").aliases == ()
    models.drop_alias("delays", "champion")
    models.drop_alias("delays", "champion")
    with pytest.raises(NotFoundError):
        models.resolve("delays", "champion")
    with pytest.raises(InvalidRequestError):
        models.set_alias("delays", "latest", "1")


def test_tags_are_set_and_removed(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    made_by(config, folder)(tags={"team": "ops"})
    models.tag("delays", "1", {"team": None, "stage": "try", "absent": None})
    assert models.get("delays", "1").tags == {"stage": "try"}
    with pytest.raises(SpecError, match=r"mlport\.token"):
        models.tag("delays", "1", {"mlport.token": "x"})


def test_approval_is_refused(models: LocalModels) -> None:
    with pytest.raises(UnsupportedError, match=r"model\.approval"):
        models.approve("delays", "1", approved=True)


def test_delete_takes_version_alias_and_files_and_no_number_comes_again(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    made_by(config, folder)(2)
    models.set_alias("delays", "champion", "1")
    models.delete("delays", "1")
    models.delete("delays", "1")
    models.delete("nothing", "1")
    assert [version.version for version in models.versions("delays", Query()).items] == ["2"]
    assert len(kept(config)) == 1
    assert made_by(config, folder)() == "3"
    assert models.find(f"{0:032x}") == Operation("model/delays/3", "model.register", "delays")


def test_download_is_whole_or_refused(config: LocalConfig, models: LocalModels, folder: Path, tmp_path: Path) -> None:
    made_by(config, folder)()
    with pytest.raises(ConflictError, match="exists already"):
        models.download("delays", "1", folder)
    model_files.drop(models.get("delays", "1").uri, config.layout.artifacts)
    with pytest.raises(NotFoundError, match="are gone"):
        models.download("delays", "1", tmp_path / "copy")
    assert not tmp_path.joinpath("copy").exists()


def test_only_folders_of_ours_are_dropped(config: LocalConfig, folder: Path) -> None:
    model_files.drop(folder.as_uri(), config.layout.artifacts)
    assert folder.exists()


# ---------------------------------------------------------------- at the edges


def test_versions_that_mlflow_made_are_seen(config: LocalConfig, models: LocalModels, folder: Path) -> None:
    client = tracking.client(config)
    client.create_registered_model("theirs")
    client.create_model_version("theirs", str(folder))
    version = models.get("theirs", "1")
    assert (version.digest, version.lineage, version.flavors) == (None, {}, ())
    models.delete("theirs", "1")
    assert folder.exists()


def test_the_role_is_the_spis(models: LocalModels) -> None:
    role: Models = models
    assert role is models
