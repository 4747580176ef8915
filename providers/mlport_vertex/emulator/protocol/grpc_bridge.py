"""The gRPC face of the same APIs: each request becomes the HTTP call that Google's own REST client would send.

Which call that is, the SDK's REST transports say themselves; for services that have none, `RULES` repeats the HTTP rules
of the published protos. So both ways share routing, validation, faults and work.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import grpc

from mlport.emulation.answering import ResetConnection
from mlport.emulation.calls import Call, Reply
from mlport_vertex.emulator.protocol.discovery import snake
from mlport_vertex.emulator.protocol.errors import CODES, OF_STATUS

Answer = Callable[[Call], Reply]


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service: the host it stands for, and the modules of its client."""

    host: str
    transport: str  # module of the gRPC transport
    name: str  # its class
    rest: str = ""  # module of the REST rules, empty where there is none


def _aiplatform(version: str, service: str, name: str) -> tuple[str, Service]:
    module = f"google.cloud.aiplatform_{version}.services.{service}.transports"
    return f"google.cloud.aiplatform.{version}.{name}", Service(
        "aiplatform.googleapis.com", f"{module}.grpc", f"{name}GrpcTransport", f"{module}.rest_base"
    )


SERVICES: Mapping[str, Service] = dict(
    [
        _aiplatform(version, service, name)
        for version in ("v1", "v1beta1")
        for service, name in (
            ("job_service", "JobService"),
            ("model_service", "ModelService"),
            ("endpoint_service", "EndpointService"),
            ("prediction_service", "PredictionService"),
            ("schedule_service", "ScheduleService"),
            ("pipeline_service", "PipelineService"),
        )
    ]
    + [_aiplatform("v1beta1", "model_monitoring_service", "ModelMonitoringService")]
    + [
        (
            "google.logging.v2.LoggingServiceV2",
            Service(
                "logging.googleapis.com",
                "google.cloud.logging_v2.services.logging_service_v2.transports.grpc",
                "LoggingServiceV2GrpcTransport",
            ),
        ),
        (
            "google.monitoring.v3.MetricService",
            Service(
                "monitoring.googleapis.com",
                "google.cloud.monitoring_v3.services.metric_service.transports.grpc",
                "MetricServiceGrpcTransport",
            ),
        ),
    ]
)
OPERATIONS = "google.longrunning.Operations"
RULES: Mapping[str, list[dict[str, str]]] = {  # google/logging/v2/logging.proto, google/monitoring/v3/metric_service.proto
    "ListLogEntries": [{"method": "post", "uri": "/v2/entries:list", "body": "*"}],
    "WriteLogEntries": [{"method": "post", "uri": "/v2/entries:write", "body": "*"}],
    "ListTimeSeries": [{"method": "get", "uri": "/v3/{name=projects/*}/timeSeries"}],
    "ListMetricDescriptors": [{"method": "get", "uri": "/v3/{name=projects/*}/metricDescriptors"}],
    "GetMetricDescriptor": [{"method": "get", "uri": "/v3/{name=projects/*/metricDescriptors/**}"}],
    "CreateTimeSeries": [{"method": "post", "uri": "/v3/{name=projects/*}/timeSeries", "body": "*"}],
    "GetOperation": [{"method": "get", "uri": "/v1/{name=projects/**}"}],
    "CancelOperation": [{"method": "post", "uri": "/v1/{name=projects/**}:cancel"}],
    "DeleteOperation": [{"method": "delete", "uri": "/v1/{name=projects/**}"}],
    "WaitOperation": [{"method": "post", "uri": "/v1/{name=projects/**}:wait"}],
    "ListOperations": [{"method": "get", "uri": "/v1/{name=projects/**}/operations"}],
}


class Bridge(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handles every method of the services above.

    Operations are asked after at a service without a version. What v1beta1 began is remembered, until the emulator ends, and
    answered with v1beta1's types.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._handlers: dict[str, Any] = {}
        self._beta: set[str] = set()

    def service(self, details: Any) -> Any:
        """The handler of a method; None lets the server answer UNIMPLEMENTED."""
        if details.method not in self._handlers:
            self._handlers[details.method] = self._handler(details.method)
        return self._handlers[details.method]

    def _handler(self, path: str) -> Any:
        _, service, method = path.split("/")
        found = _Method.of(service, method)
        if found is None:
            return None
        beta = ".v1beta1." in service
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._serve(found, request, context, beta=beta),
            request_deserializer=found.request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def _serve(self, method: _Method, request: Any, context: Any, *, beta: bool) -> Any:
        headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        call = method.call(request, headers)
        name = str(getattr(request, "name", ""))
        if name in self._beta or "/modelMonitors/" in name:
            call = replace(call, path=call.path.replace("/v1/", "/v1beta1/", 1))
        try:
            reply = self._answer(call)
        except ResetConnection:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if reply.status >= 400:
            _abort(context, reply)
        message = method.message(reply)
        if beta and message.DESCRIPTOR.full_name == "google.longrunning.Operation":
            self._beta.add(message.name)
        return message


def _abort(context: Any, reply: Reply) -> None:
    """End the call with the error of a reply, its details in the trailing metadata as Google sends them."""
    from google.protobuf import json_format
    from google.rpc import status_pb2

    try:
        error = json.loads(_content(reply))["error"]
        code, message, details = error.get("status") or OF_STATUS.get(reply.status, "UNKNOWN"), error["message"], error.get("details", [])
    except (ValueError, KeyError, TypeError):
        code, message, details = OF_STATUS.get(reply.status, "UNKNOWN"), _content(reply).decode("utf-8", "replace"), []
    number = CODES[code][0]
    if details:
        import google.rpc.error_details_pb2  # noqa: F401 - the details' types must be known to be packed

        status = json_format.ParseDict({"code": number, "message": message, "details": details}, status_pb2.Status())
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(next(each for each in grpc.StatusCode if each.value[0] == number), message)


def _content(reply: Reply) -> bytes:
    if isinstance(reply.body, Path):
        return reply.body.read_bytes()[reply.start : reply.end]
    return reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)


class _Method:
    """One method: its messages, its HTTP rule, and the way there and back."""

    def __init__(self, host: str, request: Any, response: Any, rules: Sequence[Mapping[str, str]]) -> None:
        self.host, self.request, self.response, self.rules = host, request, response, rules

    @classmethod
    def of(cls, service: str, name: str) -> _Method | None:
        """The method of a service, None where there is none."""
        known = SERVICES.get(service)
        if service == OPERATIONS:
            messages, host = _operation_messages(name), "aiplatform.googleapis.com"
            rules: Sequence[Mapping[str, str]] = RULES.get(name, ())
        elif known is not None:
            messages, rules, host = _messages(known, name), _rules(known, name), known.host
        else:
            return None
        return cls(host, *messages, rules) if messages and rules else None

    @cached_property
    def _is_raw(self) -> bool:
        return str(self.response.DESCRIPTOR.full_name) == "google.api.HttpBody"

    def call(self, request: Any, headers: Mapping[str, str]) -> Call:
        """The HTTP call that the REST client would make of the request."""
        from google.api_core import path_template, rest_helpers
        from google.protobuf import json_format

        transcoded = path_template.transcode(self.rules, message=request)
        body = transcoded.get("body")
        if body is not None and body.DESCRIPTOR.full_name == "google.api.HttpBody":
            content = body.data
        else:
            content = b"" if body is None else json_format.MessageToJson(body).encode()
        query = json_format.MessageToDict(transcoded["query_params"])
        flat = rest_helpers.flatten_query_params(query, strict=True)
        path = transcoded["uri"]  # percent-encoded already
        return Call(
            transcoded["method"].upper(),
            self.host,
            path,
            tuple(parse_qsl(urlencode(flat), keep_blank_values=True)),
            headers,
            io.BytesIO(content),
        )

    def message(self, reply: Reply) -> Any:
        """The answer as the method's message."""
        from google.protobuf import json_format

        if self._is_raw:
            return self.response(content_type=reply.headers.get("content-type", ""), data=_content(reply))
        return json_format.Parse(_content(reply) or b"{}", self.response())


class _Recorder(grpc.Channel):  # type: ignore[misc]
    """A channel that notes what a transport's stub asks of it, instead of calling."""

    def __init__(self) -> None:
        self.messages: tuple[Any, Any] | None = None

    def unary_unary(self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any) -> Any:
        self.messages = (_message(request_serializer), _message(response_deserializer))
        return lambda *_: None

    def _other(self, *_: Any, **__: Any) -> Any:
        return lambda *_: None

    unary_stream = stream_unary = stream_stream = _other

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None: ...

    def unsubscribe(self, callback: Any) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, *_: object) -> None: ...


def _message(codec: Any) -> Any:
    """The protobuf class behind a (de)serializer, which is bound to it or to the proto-plus class around it."""
    owner = codec.__self__
    return type(owner.pb(owner())) if hasattr(owner, "pb") else owner


def _messages(known: Service, method: str) -> tuple[Any, Any] | None:
    """Request and response of a method, as the SDK's own stub has them."""
    transport = getattr(importlib.import_module(known.transport), known.name)
    recorder = _Recorder()
    stub = snake(method)
    if not isinstance(getattr(transport, stub, None), property):
        return None
    made = transport(channel=recorder)
    made._logged_channel = recorder  # the interceptor around it would ask nothing before the first call
    made._stubs.clear()  # those made through the interceptor
    getattr(made, stub)
    return recorder.messages


def _rules(known: Service, method: str) -> Sequence[Mapping[str, str]]:
    if not known.rest:
        return RULES.get(method, ())
    module = importlib.import_module(known.rest)
    base = getattr(module, f"_Base{known.name.removesuffix('GrpcTransport')}RestTransport")
    inner = getattr(base, f"_Base{method}", None)
    return inner._get_http_options() if inner else ()


def _operation_messages(method: str) -> tuple[Any, Any] | None:
    """google/longrunning/operations.proto."""
    from google.longrunning import operations_pb2 as lro
    from google.protobuf.empty_pb2 import Empty

    answers = {"GetOperation": lro.Operation, "WaitOperation": lro.Operation, "ListOperations": lro.ListOperationsResponse}
    request = getattr(lro, f"{method}Request", None)
    return (request, answers.get(method, Empty)) if request else None
