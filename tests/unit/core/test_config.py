"""mlport.toml, target URLs and profiles: found upward, expanded, and refused with the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlport
from mlport import registry
from mlport.config import choose, find_file, read_file
from mlport.errors import ConfigError

TOML = """
default = "here"
[objective]
metric = "roc_auc"
at_least = 0.68
[profiles.here]
provider = "sample"
root = "${DATA_ROOT}/x"
[profiles.there]
provider = "sample"
root = "${ELSEWHERE}"
[profiles.nameless]
root = "/x"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLPORT_PROFILE", raising=False)
    monkeypatch.delenv("ELSEWHERE", raising=False)
    monkeypatch.setenv("DATA_ROOT", "/data")
    path = tmp_path / "mlport.toml"
    path.write_text(TOML)
    return path


def test_the_file_is_found_upward(file: Path) -> None:
    deep = file.parent / "a" / "b"
    deep.mkdir(parents=True)
    assert find_file(deep) == file
    (deep / "mlport.toml").write_text("")
    assert find_file(deep) == deep / "mlport.toml"


def test_the_default_profile_with_its_variables(file: Path) -> None:
    client = mlport.connect(config=file)
    assert (client.config.target, client.config.profile) == ("sample:///data/x", "here")
    assert (client.objective.metric, client.objective.at_least) == ("roc_auc", 0.68)


def test_the_environment_names_the_profile(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPORT_PROFILE", "there")
    monkeypatch.setenv("ELSEWHERE", "/else")
    assert mlport.connect(config=file).config.target == "sample:///else"


def test_only_the_chosen_profiles_variables_must_be_set(file: Path) -> None:
    assert mlport.connect("here", config=file).config.target == "sample:///data/x"
    with pytest.raises(ConfigError, match=r"profiles\.there: root: the environment variable ELSEWHERE is not set"):
        mlport.connect("there", config=file)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("heer", ["no profile named 'heer'", "did you mean 'here'?"]),
        ("qqqqq", ["no profile named 'qqqqq'", "there are: here, local, nameless, there"]),
        ("nameless", ["profiles.nameless.provider is required"]),
        ("smaple:///x", ["no provider named 'smaple'", "did you mean 'sample'?"]),
        ("sample:///x?roott=/y", ["SampleConfig.roott", "did you mean 'root'?"]),
        ("local://host/x", ["write three slashes"]),
    ],
)
def test_a_wrong_target_names_the_nearest_right_one(file: Path, target: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        mlport.connect(target, config=file)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("default = ", ["mlport.toml"]),
        ("[profile.x]", ["ConfigFile.profile", "did you mean 'profiles'?"]),
        ("[profiles.Bad_Name]", ["profiles", "Bad_Name"]),
        ("[objective]\nmetrik = 'x'", ["objective.metrik"]),
    ],
)
def test_a_wrong_file_says_where(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "mlport.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_file(path)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        mlport.connect("local", config=tmp_path / "absent.toml")


def test_without_any_file_it_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLPORT_PROFILE", raising=False)
    assert choose(None, None)[:2] == ("local", {"profile": "local"})


def test_a_url_carries_fields() -> None:
    config = mlport.connect("local:///data/ml%20port?max_jobs=3&offline=true").config
    assert (str(config.root), config.max_jobs, config.offline) == ("/data/ml port", 3, True)  # type: ignore[attr-defined]


def test_providers_are_found_by_entry_point() -> None:
    assert {"local", "sample"} <= set(registry.names())
    provider = registry.load("sample")
    error = registry.missing_extra(provider, ModuleNotFoundError("x", name="vendor"))
    assert "pip install 'mlport[sample]'" in str(error)
    assert "'vendor'" in str(error)


def test_two_profiles_share_nothing(tmp_path: Path) -> None:
    with mlport.connect(f"sample://{tmp_path}/a") as one, mlport.connect(f"sample://{tmp_path}/b") as two:
        one.session.state.put("k", b"1")
        assert two.session.state.get("k") is None
