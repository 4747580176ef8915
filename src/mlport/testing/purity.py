"""Plans without a session: specs with made-up facts, and a program that watches what planning touches.

`python -m mlport.testing.purity TARGET` prints JSON: the plans, the packages that planning imported, and what it did.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import mlport
from mlport.capabilities import Capability, Level
from mlport.specs import DeploymentSpec, EndpointSpec, JobSpec, ModelRef, ModelSpec, Spec, SweepSpec
from mlport.spi import Facts

DIGEST = "0" * 64
MODEL: dict[str, Any] = {
    "name": "delays",
    "version": "3",
    "uri": "/registry/delays/3",
    "digest": DIGEST,
    "created": "2026-01-01T00:00:00+00:00",
    "aliases": ["champion"],
    "tags": {},
    "lineage": {},
    "signature": None,
    "flavors": ["python_function", "sklearn"],
    "approval": None,
    "description": "",
}
REF = ModelRef(name="delays", version="3")
SPECS: Mapping[str, type[Spec]] = {
    "job": JobSpec,
    "model": ModelSpec,
    "endpoint": EndpointSpec,
    "deployment": DeploymentSpec,
    "sweep": SweepSpec,
}
OWN_PACKAGES = {"mlport", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
ACTS = ("open", "socket.", "subprocess.", "os.", "import", "sqlite3.", "shutil.", "http.", "urllib.", "ctypes.")


def case(kind: str, **fields: Any) -> tuple[Spec, Facts]:
    """A spec of one kind, and facts that a core could have found."""
    labels = {"mlport": "1"}
    match kind:
        case "job":
            job = {
                "name": "train",
                "source": "/code",
                "entrypoint": ["python", "train.py"],
                "params": {"depth": 6, "rate": 0.1},
                "env": {"A": "b"},
            }
            facts = Facts(bundle=DIGEST, bundle_bytes=1, git_commit="0" * 40, git_dirty=False, labels=labels, machine={})
            return JobSpec.model_validate({**job, **fields}), facts
        case "sweep":
            job_spec, facts = case("job")
            search = {"space": {"depth": [2, 6]}, "metric": "auc", "direction": "maximize", "algorithm": "grid", **fields}
            return SweepSpec.model_validate({"name": "search", "job": job_spec, **search}), facts
        case "model":
            return ModelSpec(name="delays", path="/model", tags={"a": "b"}), Facts(
                model={"digest": DIGEST, "lineage": {}, "trusted": True}, labels=labels, machine={}
            )
        case "endpoint":
            return EndpointSpec(name="delays", deployment=DeploymentSpec(model=REF), capture=None), Facts(
                model=MODEL, labels=labels, machine={}
            )
        case _:
            return DeploymentSpec(model=REF, endpoint="delays"), Facts(model=MODEL, endpoint=_ENDPOINT, labels=labels, machine={})


_ENDPOINT = {
    "name": "delays",
    "state": "READY",
    "native_state": "READY",
    "url": "http://127.0.0.1:1",
    "deployments": [{"name": "v2", "state": "READY", "native_state": "READY", "model": "delays", "version": "2", "percent": 100}],
    "etag": "1",
}


def is_planned(client: mlport.Client, kind: str, spec: Spec) -> bool:
    """Whether the provider can do it and plans it itself; the core plans sweeps where the provider has no tuner."""
    supports = client.provider.supports(client.config)
    is_ours = kind == "sweep" and supports[Capability.SWEEP].level is not Level.NATIVE
    return not is_ours and all(supports[need].available for need in spec.requires())


def plans(client: mlport.Client) -> dict[str, Any]:
    """The plan, as JSON, of each kind of spec that the provider can do."""
    cases = {kind: case(kind) for kind in SPECS}
    possible = {kind: found for kind, found in cases.items() if is_planned(client, kind, found[0])}
    made = {kind: client.provider.plan(client.config, spec, facts).to_json() for kind, (spec, facts) in possible.items()}
    return dict(json.loads(json.dumps(made)))


def main(target: str) -> None:
    """Plan once to see what it imports, and once more to see what it does."""
    client = mlport.connect(target)
    own = {*OWN_PACKAGES, *sys.stdlib_module_names, type(client.provider).__module__.partition(".")[0]}
    before = set(sys.modules)
    first = plans(client)
    foreign = sorted({name.partition(".")[0] for name in set(sys.modules) - before} - own)
    acts: list[str] = []
    watching = [True]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching[0] and event.startswith(ACTS):
            acts.append(f"{event} {arguments[:1]}")

    sys.addaudithook(watch)
    second = plans(client)
    watching[0] = False
    if second != first:
        acts.append("the second plan differs from the first")
    print(json.dumps({"plans": first, "foreign": foreign, "acts": acts}))


if __name__ == "__main__":
    main(sys.argv[1])
