"""Cloud Storage: the JSON API, its uploads and downloads, and the XML API, each under the hosts and paths of the real one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from urllib.parse import unquote

from mlport.emulation.calls import Call, Reply
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Api
from mlport_vertex.emulator.services import storage_json
from mlport_vertex.emulator.services.storage_forms import CODES, REASONS, json_refusal, xml_refusal
from mlport_vertex.emulator.services.storage_uploads import Uploads
from mlport_vertex.emulator.services.storage_xml import Xml
from mlport_vertex.emulator.storing.object_records import StorageError

HOST = "storage.googleapis.com"
HOSTS = re.compile(r"(www|([a-z0-9_][a-z0-9._-]*\.)?storage)\.googleapis\.com")
JSON_PATHS = ("/storage/", "/upload/storage/", "/resumable/upload/storage/", "/download/storage/")


class StorageService:
    """Routes a call to the API that it is of, and words refusals as that API does."""

    def __init__(self, place: Place) -> None:
        self._api = Api(("storage.v1",), storage_json.handlers(place))
        self._uploads = Uploads(place.objects, self._json)
        self._xml = Xml(place.objects)

    def answers_for(self, host: str) -> bool:
        return bool(HOSTS.fullmatch(host))

    def claims(self, path: str) -> bool:
        return path.startswith(JSON_PATHS)

    def answer(self, call: Call) -> Reply:
        if not _is_json(call):
            try:
                return self._xml.answer(call, *_resource(call))
            except StorageError as error:
                return xml_refusal(error)
        if "upload/" in call.path[: len("/resumable/upload/")]:
            try:
                return self._uploads.answer(call)
            except StorageError as error:
                return json_refusal(error)
        if call.path.startswith("/download/"):
            return self._json(replace(call, path=call.path.removeprefix("/download"), query=(*call.query, ("alt", "media"))))
        return self._json(call)

    def _json(self, call: Call) -> Reply:
        """A call of the JSON API's own methods. Refusals of the common ground get this API's older shape."""
        try:
            reply = self._api.answer(storage_json.Patch.of(call) if call.method == "PATCH" else call)
        except StorageError as error:
            return json_refusal(error)
        return _reworded(reply) if reply.status >= 400 else reply

    def failure(self, call: Call, status: int) -> Reply:
        said = {
            429: "The object exceeded the rate limit for object mutation operations (create, update, and delete).",
            503: "We encountered an internal error. Please try again.",
        }.get(status, "We encountered an internal error. Please try again." if status >= 500 else f"The request was refused ({status}).")
        error = StorageError(status, REASONS.get(status, "backendError"), CODES.get(status, "InternalError"), said)
        return json_refusal(error) if _is_json(call) else xml_refusal(error)


def _is_json(call: Call) -> bool:
    """On other hosts than these two every path is an object's."""
    return not call.host.endswith(f".{HOST}") and (call.host != HOST or call.path.startswith(JSON_PATHS))


def _resource(call: Call) -> tuple[str, str]:
    """Bucket and object of a call of the XML API, whose host may name the bucket."""
    path = call.path.lstrip("/") if call.host == HOST else call.path[1:]
    if call.host != HOST:
        return call.host.removesuffix(f".{HOST}"), unquote(path)
    bucket, _, name = path.partition("/")
    return unquote(bucket), unquote(name)


def _reworded(reply: Reply) -> Reply:
    assert isinstance(reply.body, bytes)  # noqa: S101 - an error's body
    error = json.loads(reply.body)["error"]
    if "errors" in error:
        return reply
    return json_refusal(StorageError(reply.status, REASONS.get(reply.status, "backendError"), "", error["message"]))
