"""MLflow's proto descriptions, read from the source of mlflow/protos/*_pb2.py as text: to import one of them is to import all of MLflow."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

SERVICE = "databricks_uc_registry_service.proto"
_SERIALIZED = re.compile(r"\.AddSerializedFile\((b'(?:[^'\\]|\\.)*')\)")


@cache
def registry_methods() -> tuple[MethodDescriptor, ...]:
    """The methods of the registry of Unity Catalog. Raises ModuleNotFoundError where MLflow is not installed."""
    found: Any = _pool().FindFileByName(SERVICE).services_by_name["UcModelRegistryService"].methods
    return tuple(found)


def endpoints(method: MethodDescriptor) -> list[tuple[str, str]]:
    """Verb and path of each of a method's endpoints: the option `rpc` of databricks.proto."""
    from google.protobuf.message_factory import GetMessageClass

    options = GetMessageClass(_pool().FindMessageTypeByName("google.protobuf.MethodOptions"))()
    options.ParseFromString(method.GetOptions().SerializeToString())
    rpc: Any = _pool().FindExtensionByName("mlflow.rpc")
    return [(str(each.method), str(each.path)) for each in options.Extensions[rpc].endpoints]


@cache
def _pool() -> DescriptorPool:
    """A pool with the service and all that it names, beside that of the process, which MLflow fills when it is imported."""
    from google.protobuf.descriptor_pb2 import DESCRIPTOR, FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClassesForFiles

    pool: Any = DescriptorPool()
    pool.AddSerializedFile(DESCRIPTOR.serialized_pb)
    added = {DESCRIPTOR.name}

    def add(name: str) -> None:
        if name not in added:
            serialized = _serialized(name)
            for needed in FileDescriptorProto.FromString(serialized).dependency:
                add(needed)
            pool.AddSerializedFile(serialized)
            added.add(name)

    add(SERVICE)
    GetMessageClassesForFiles(sorted(added), pool)  # makes the extensions of options known
    found: DescriptorPool = pool
    return found


def _serialized(name: str) -> bytes:
    """The description of a .proto file, as protoc wrote it into the module that it made of it."""
    spec = find_spec("mlflow")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("mlflow", name="mlflow")
    source = Path(spec.submodule_search_locations[0], "protos", name.removesuffix(".proto") + "_pb2.py").read_text(encoding="utf-8")
    found = _SERIALIZED.search(source)
    if found is None:
        raise ValueError(f"mlflow/protos: the module of {name} has no description")
    described: bytes = ast.literal_eval(found[1])
    return described
