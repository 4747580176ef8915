"""Vertex AI's API as JSON in and JSON out, over REST or gRPC: the names, fields and enum words of Google's description."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import Any
from urllib.parse import quote, urlencode

from mlport_vertex.config import VertexConfig
from mlport_vertex.google.calls import CALLS, Rpc
from mlport_vertex.google.connection import SECONDS, Connection
from mlport_vertex.google.errors import Json, Refusal, translated
from mlport_vertex.google.objects import Objects


class VertexApi:
    """The API of one project and region, and the services beside it."""

    def __init__(self, config: VertexConfig) -> None:
        self.config = config
        self.connection = Connection(config)
        self.objects = Objects(self.connection)

    def call(
        self,
        method: str,
        *,
        parent: str | None = None,
        name: str | None = None,
        body: Json | None = None,
        timeout: float = SECONDS,
        **query: Any,
    ) -> Json:
        """Make a call of `mlport_vertex.google.calls.CALLS`, such as `models.upload`; its answer, with absent fields left out.

        Args:
            parent, name: the resource that it is about; `parent` is the profile's if neither is given.
            query: further parameters as the description spells them, such as `updateMask`, `filter` and `pageToken`.

        Raises:
            MlportError: what Google answered, in our words, from the original.
        """
        rpc = CALLS[method]
        given = {key: value for key, value in query.items() if value is not None}
        return self._send(rpc, method, name or parent or self.config.parent, body, given, timeout)

    @property
    def _send(self) -> Callable[[Rpc, str, str, Json | None, Json, float], Json]:
        return self._over_rest if self.config.transport == "rest" else self._grpc.call

    def _over_rest(self, rpc: Rpc, method: str, resource: str, body: Json | None, query: Json, timeout: float) -> Json:
        return self.connection.send(
            rpc.verb,
            f"https://{self.config.host}/{_version(rpc, resource)}/{quote(resource, safe='/@-')}{rpc.suffix}",
            operation=method,
            body=(body or {}) if rpc.body else None,
            query={key: _text(value) for key, value in query.items()},
            repeatable=rpc.repeatable,
            timeout=timeout,
        )

    @cached_property
    def _grpc(self) -> Grpc:
        return Grpc(self.connection)

    def logging(self, body: Json) -> Json:
        """One page of `entries.list` of Cloud Logging."""
        url = "https://logging.googleapis.com/v2/entries:list"
        return self.connection.send("POST", url, operation="logging.entries.list", body=body, repeatable=True)

    @property
    def http(self) -> Any:
        """A `requests` session with credentials, proxy and authorities, for what is neither of the above."""
        return self.connection.http

    def close(self) -> None:
        self.connection.close()


def _version(rpc: Rpc, resource: str) -> str:
    """Operations are asked after in the version that knows the resource that they are of."""
    return "v1beta1" if rpc.service == "Operations" and "/modelMonitors/" in resource else rpc.version


def _text(value: Any) -> str | list[str]:
    """A query argument as HTTP has it."""
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


class Grpc:
    """The same calls through the stubs of Google's SDK, without its retries and its long-running futures."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._transports: dict[str, Any] = {}

    def call(self, rpc: Rpc, method: str, resource: str, body: Json | None, query: Json, timeout: float) -> Json:
        """The same as over REST."""
        import grpc
        from google.api_core.exceptions import from_grpc_error
        from google.protobuf import json_format

        stub, request_type = self._stub(rpc, _version(rpc, resource))
        request = json_format.ParseDict(_fields(rpc, resource, body, query), request_type())
        routing = ("x-goog-request-params", urlencode({rpc.field: resource}))
        try:
            answer = stub(request, timeout=timeout, metadata=(routing,))
        except grpc.RpcError as failed:
            error = from_grpc_error(failed)
            code = error.grpc_status_code.name if error.grpc_status_code else "UNKNOWN"
            refusal = Refusal(code, error.message or code, error.reason or "")
            raise translated(refusal, method, repeatable=rpc.repeatable) from error
        plain: Json = json_format.MessageToDict(answer)
        return plain

    def _stub(self, rpc: Rpc, version: str) -> tuple[Callable[..., Any], Any]:
        """The method's callable, which answers with a protobuf message, and the class of its request."""
        if rpc.service == "Operations":
            return self._operations_stub(rpc, version)
        request = getattr(_types(version), f"{rpc.name}Request")
        stub = getattr(self._transport(rpc.service, version), _snake(rpc.name))

        def call(message: Any, **options: Any) -> Any:
            answer = stub(message, **options)
            return type(answer).pb(answer) if hasattr(type(answer), "pb") else answer

        return call, type(request.pb(request()))

    def _transport(self, service: str, version: str) -> Any:
        known = f"{version}.{service}"
        if known not in self._transports:
            module = import_module(f"google.cloud.aiplatform_{version}.services.{_snake(service)}.transports.grpc")
            self._transports[known] = getattr(module, f"{service}GrpcTransport")(channel=self._connection.channel)
        return self._transports[known]

    def _operations_stub(self, rpc: Rpc, version: str) -> tuple[Callable[..., Any], Any]:
        from google.longrunning import operations_pb2

        _types(version)  # what an operation's Any holds must be known to be read
        answers = {"GetOperation": operations_pb2.Operation, "ListOperations": operations_pb2.ListOperationsResponse}
        request = getattr(operations_pb2, f"{rpc.name}Request")
        stub = self._connection.channel.unary_unary(
            f"/google.longrunning.Operations/{rpc.name}",
            request_serializer=request.SerializeToString,
            response_deserializer=answers[rpc.name].FromString,
        )
        return stub, request


def _types(version: str) -> Any:
    """The messages of a version of the API."""
    return import_module(f"google.cloud.aiplatform_{version}.types")


def _fields(rpc: Rpc, resource: str, body: Json | None, query: Json) -> Json:
    """The request message in JSON: the body at its field, the resource's name at its, and the rest beside them."""
    fields: Json = dict(query)
    if rpc.body == "*":
        fields.update(body or {})
    elif rpc.body:
        fields[rpc.body] = dict(body or {})
    holder, _, last = rpc.field.rpartition(".")
    (fields[holder] if holder else fields)[last] = resource
    return fields


def _snake(name: str) -> str:
    """A method's or service's name as Python spells it.

    >>> _snake("CreateCustomJob")
    'create_custom_job'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
