"""Who can see and do what: files, environments, addresses, names, TLS and secrets."""

from __future__ import annotations

import ipaddress
import socket
import stat
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from mlport import masking
from mlport.errors import ConfigError, NotFoundError, PredictionError, SpecError
from mlport.specs import DeploymentSpec, EndpointSpec, JobSpec
from mlport.spi import Facts
from mlport_local.advice import advice
from mlport_local.config import LocalConfig
from mlport_local.engine import process
from mlport_local.plan import plan
from mlport_local.registry import tracking
from mlport_local.serving import calls, staff
from mlport_local.serving.router import DRAIN_SECONDS

sys.path.insert(0, str(Path(__file__).parents[3]))
from aids.local.endpoints import ROW, Place


def test_nobody_else_may_read_what_lies_under_an_endpoint(live: Any) -> None:
    live.endpoints.predict("live", [ROW])
    assert stat.S_IMODE(live.config.root.stat().st_mode) == 0o700
    folder = live.config.layout.endpoint("live")
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((folder / "run").stat().st_mode) == 0o700
    private = [folder / "key", *folder.glob("run/*"), *folder.glob("capture/spool/*"), *folder.glob("observed/*"), *folder.glob("logs/*")]
    assert not [path for path in private if path.stat().st_mode & 0o077]


def test_workers_get_few_of_the_clients_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {"AWS_SECRET_ACCESS_KEY": "aws", "MLFLOW_TRACKING_URI": "https://u:p@h", "https_proxy": "http://p", "LC_ALL": "C", "TZ": "UTC"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = staff.environment(tmp_path, {"MINE": "1"})
    assert {name for name in given if name in found} == {"LC_ALL", "TZ"}
    assert found["MINE"] == "1"


def test_a_running_worker_has_none_of_them(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "of the client")
    live.done(live.endpoints.deploy(live.deployment("live", "careful"), token=live.token()))
    seen = [process.environment_of(who.pid) for who in staff.marked(live.config.layout.endpoint("live"))]
    assert seen
    assert not [entry for entries in seen for entry in entries if b"A_SECRET" in entry]
    live.done(live.endpoints.undeploy("live", "careful", token=live.token()))


def test_an_endpoint_asks_for_a_key_unless_told_otherwise(live: Any) -> None:
    assert EndpointSpec(name="live", deployment=DeploymentSpec(model={"name": "lr", "version": "1"})).auth is None
    assert live.endpoints.get("live").auth == "key"
    call = Request(f"{live.endpoints.get('live').url}/invocations", b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 0]]}}')
    with pytest.raises(HTTPError) as refused, urlopen(call, timeout=10):
        pass
    assert refused.value.code == 401
    refused.value.close()


def test_an_endpoint_is_on_loopback_unless_told_otherwise(live: Any) -> None:
    host = live.store.get("live").desired.host
    assert ipaddress.ip_address(host).is_loopback
    port = live.store.get("live").desired.port
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines() if f":{port:04X} 00000000:0000 0A" in line]
    assert [words[1] for words in lines] == [f"0100007F:{port:04X}"]


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "/etc", "a\0b", "A", "", "a" * 64, "~x"])
def test_names_that_are_paths_are_no_names(name: str) -> None:
    with pytest.raises(SpecError):
        DeploymentSpec.model_validate({"model": {"name": "lr", "version": "1"}, "name": name})
    with pytest.raises(SpecError):
        EndpointSpec.model_validate({"name": name, "deployment": {"model": {"name": "lr", "version": "1"}}})


@pytest.mark.parametrize("verb", ["purge", "delete", "captured", "observe", "headers", "get"])
def test_no_verb_leads_out_of_the_root_by_a_name(place: Any, verb: str, tmp_path: Path) -> None:
    outside = place.config.root / "outside"
    (outside / "capture").mkdir(parents=True, exist_ok=True)
    (outside / "observed").mkdir(exist_ok=True)
    from mlport.spi import Window

    now = datetime.now(UTC)
    arguments: dict[str, tuple[Any, ...]] = {key: (Window(now - timedelta(1), now),) for key in ("captured", "observe")}
    options = {"token": place.token()} if verb == "delete" else {}
    with pytest.raises((SpecError, NotFoundError)):
        getattr(place.endpoints, verb)("../outside", *arguments.get(verb, ()), **options)
    assert outside.is_dir()


def test_a_model_folder_with_a_link_that_leaves_it_is_refused(place: Any, tmp_path: Path, save_model: Callable[..., None]) -> None:
    save_model(tmp_path / "model")
    (tmp_path / "secret").write_text("not theirs")
    (tmp_path / "model" / "extra").symlink_to(tmp_path / "secret")
    with pytest.raises(SpecError, match="symbolic link"):
        place.endpoints.create(place.endpoint("linked", model={"uri": str(tmp_path / "model"), "digest": None}), token=place.token())
    place.endpoints.purge("linked")


def test_keys_are_not_shown_by_what_holds_them() -> None:
    assert "mlp_secret" not in repr(calls.Address("http://a", {"authorization": "Bearer mlp_secret"}))


# ------------------------------------------------------------------ secrets in plans


def test_a_password_of_mlflow_is_in_no_plan_and_reaches_the_job(tmp_path: Path) -> None:
    config = LocalConfig(root=tmp_path, mlflow="https://ann:s3cret@mlflow.example")
    made = plan(config, JobSpec(name="train", entrypoint=["python", "-c", "1"]), Facts(machine={}))
    assert "s3cret" not in str(made.to_json()) + repr(config) + repr(made)
    assert made.requests[0].body["env"]["MLFLOW_TRACKING_URI"] == "https://ann:***@mlflow.example"
    assert tracking.private_environment(config)["MLFLOW_TRACKING_URI"] == config.mlflow
    assert tracking.private_environment(LocalConfig(root=tmp_path)) == {}


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("DB_PASSWORD", "x", True),
        ("GITHUB_TOKEN", "x", True),
        ("OPENAI_API_KEY", "x", True),
        ("DATABASE_URL", "postgresql://a:b@host/db", True),
        ("DB_PASSWORD", "", False),
        ("EPOCHS", "3", False),
        ("KEYBOARD", "us", False),
        ("URL", "https://host/a:b@c", False),
    ],
)
def test_what_looks_like_a_secret(name: str, value: str, secret: bool) -> None:
    assert masking.is_secret(name, value) is secret
    spec = JobSpec(name="train", entrypoint=["python"], env={name: value})
    notes = list(advice(LocalConfig(), spec))
    assert bool(notes) is secret
    assert all(value not in note for note in notes if value)


def test_an_endpoint_that_others_reach_is_warned_of() -> None:
    def notes(host: str, auth: str) -> int:
        spec = EndpointSpec.model_validate({"name": "e", "auth": auth, "deployment": {"model": {"name": "lr", "version": "1"}}})
        return len(list(advice(LocalConfig(host=host), spec)))

    assert [notes("127.0.0.1", "none"), notes("0.0.0.0", "key"), notes("0.0.0.0", "none")] == [0, 1, 2]


# ------------------------------------------------------------------ TLS and IPv6


@pytest.fixture
def make_place(tmp_path: Path) -> Any:
    made: list[Place] = []

    def make(**settings: Any) -> Place:
        made.append(Place(tmp_path / "r", **settings))
        return made[-1]

    yield make
    for place in made:
        place.close()


def test_an_endpoint_with_a_certificate_serves_tls_to_who_trusts_it(make_place: Any, tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from certificates import write_pair

    write_pair(tmp_path)
    place = make_place(certificate=tmp_path / "cert.pem", certificate_key=tmp_path / "key.pem", ca=tmp_path / "cert.pem")
    place.done(place.endpoints.create(place.endpoint("safe"), token="safe"))
    assert place.endpoints.get("safe").url.startswith("https://127.0.0.1:")
    assert place.endpoints.predict("safe", [ROW]).predictions == [True]
    stranger = type(place)(place.config.root)
    with pytest.raises(PredictionError, match=r"certificate|CERTIFICATE"):
        stranger.endpoints.predict("safe", [ROW])
    began = time.monotonic()
    place.done(place.endpoints.delete("safe", token="gone"))
    assert time.monotonic() - began < DRAIN_SECONDS / 2, "a caller that keeps an idle connection is not waited for"
    for role in (stranger.endpoints, stranger.operations, stranger.store):
        role.close()


def test_a_certificate_that_cannot_serve_is_refused_before_anything_is_made(make_place: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="certificate_key"):
        LocalConfig.load({"certificate": "a.pem"}, where="profile")
    place = make_place(certificate=tmp_path / "no.pem", certificate_key=tmp_path / "no.pem")
    with pytest.raises(ConfigError, match=r"no\.pem"):
        place.endpoints.create(place.endpoint("safe"), token="safe")
    assert place.endpoints.find("safe") is None
    (tmp_path / "no.pem").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"no\.pem"):
        place.endpoints.create(place.endpoint("safe"), token="safe")


def test_an_endpoint_may_be_on_ipv6(make_place: Any) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    place = make_place(host="::1")
    place.done(place.endpoints.create(place.endpoint("six"), token="six"))
    assert place.endpoints.get("six").url.startswith("http://[::1]:")
    assert place.endpoints.predict("six", [ROW]).predictions == [True]
