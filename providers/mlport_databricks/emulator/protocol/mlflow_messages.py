"""MLflow's registry protocol for Unity Catalog: routes and messages from the protos that come with mlflow, nothing unknown ignored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlport.emulation.calls import Call
from mlport_databricks.emulator.protocol import mlflow_protos
from mlport_databricks.emulator.protocol.api import Handler, Route, read_json
from mlport_databricks.emulator.protocol.errors import ApiError, invalid

Json = dict[str, Any]
PREFIX = "/api/2.0"
PATHS = f"{PREFIX}/mlflow/unity-catalog/"


def routes(handlers: Mapping[str, Handler]) -> Iterator[Route]:
    """Every route of the protos, with the handler of its message's name without `Request`. Raises ValueError for handlers of none."""
    from google.protobuf.message_factory import GetMessageClass

    known = set()
    for method in mlflow_protos.registry_methods():
        name = method.input_type.name.removesuffix("Request")
        known.add(name)
        message = Message(GetMessageClass(method.input_type), GetMessageClass(method.output_type))
        for verb, path in mlflow_protos.endpoints(method):
            yield Route(verb, PREFIX + path, message, handlers.get(name))
    if unknown := handlers.keys() - known:
        raise ValueError(f"no such messages in MLflow's protos: {', '.join(sorted(unknown))}")


class Message:
    """A call by its proto messages."""

    def __init__(self, asked: Any, answered: Any) -> None:
        self._asked, self._answered = asked, answered

    def request(self, call: Call, places: Mapping[str, str]) -> tuple[Json, Any]:
        from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

        given = {**dict(call.query), **(read_json(call) if call.method != "GET" else {})}
        try:
            message = ParseDict(given, self._asked())
        except ParseError as error:
            raise ApiError("MALFORMED_REQUEST", f"Could not parse request object: {error}") from error
        said = MessageToDict(message, preserving_proto_field_name=True)
        if "name" in self._asked.DESCRIPTOR.fields_by_name and not said.get("name"):
            raise invalid("Missing required field: name")
        return said, None

    def reply(self, answer: Any) -> Sequence[str]:
        from google.protobuf.json_format import ParseDict, ParseError

        try:
            ParseDict(json.loads(json.dumps(answer or {})), self._answered())
        except ParseError as error:
            return (str(error),)
        return ()
