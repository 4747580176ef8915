"""Cloud Storage's JSON API: buckets and objects by the methods of its description, storage.v1."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlport.emulation.calls import Call, Reply
from mlport_vertex.emulator.place import NUMBER, Place
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.services.storage_forms import (
    CHOSEN,
    bucket_json,
    chosen,
    content,
    etag,
    hashes,
    invalid,
    object_json,
    page_token,
    read_page_token,
    verified,
)
from mlport_vertex.emulator.storing.object_records import Conditions, Content, Json, Object, StorageError
from mlport_vertex.emulator.storing.objects import Objects

BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
MOST_RESULTS = 1000
MOST_COMPOSED = 32  # source objects of one compose: https://cloud.google.com/storage/docs/composite-objects
POLICY: Json = {"kind": "storage#policy", "version": 1, "etag": "CAE=", "bindings": []}


@dataclass(frozen=True, slots=True)
class Upload(Call):
    """An insert whose content came along, outside of its JSON body."""

    media: Content = b""


@dataclass(frozen=True, slots=True)
class Patch(Call):
    """A patch, in which null stands for what is to go: the description knows no null, so its body is without."""

    changes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, call: Call) -> Patch:
        """Raises StorageError for what is no JSON object."""
        try:
            changes = call.json() or {}
        except ValueError as error:
            raise StorageError(400, "parseError", "InvalidArgument", "Parse Error") from error
        if not isinstance(changes, dict):
            raise StorageError(400, "parseError", "InvalidArgument", "Parse Error")
        body = io.BytesIO(json.dumps(_merged({}, changes)).encode())
        headers = {name: value for name, value in call.headers.items() if name != "content-encoding"}
        return cls(call.method, call.host, call.path, call.query, headers, body, changes=changes)


def _changes(request: Request) -> Json:
    assert isinstance(request.call, Patch)  # noqa: S101 - the service makes it of every patch
    return dict(request.call.changes)


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    rooms: tuple[Callable[[Objects], Mapping[str, Handler]], ...] = (_buckets, _policies, _objects, _copies)
    return {f"storage.{name}": handler for room in rooms for name, handler in room(place.objects).items()}


def conditions(arguments: Mapping[str, Any], prefix: str = "if") -> Conditions:
    """Those of a call's arguments, under `if` or `ifSource`."""
    names = ("GenerationMatch", "GenerationNotMatch", "MetagenerationMatch", "MetagenerationNotMatch")
    return Conditions(*(arguments.get(prefix + name) for name in names))


# ---------------------------------------------------------------- buckets


def _buckets(objects: Objects) -> Mapping[str, Handler]:
    def insert(request: Request) -> Json:
        name = request.body.get("name", "")
        if not BUCKET_NAME.fullmatch(name):
            raise invalid(f"Invalid bucket name: '{name}'")
        if not request.arguments.get("project"):
            raise StorageError(400, "required", "InvalidArgument", "Required parameter: project", "project")
        return bucket_json(objects.create_bucket(name, _settings(request.body)), NUMBER)

    def listing(request: Request) -> Json:
        found = objects.buckets(request.arguments.get("prefix", ""))
        after = read_page_token(request.arguments.get("pageToken", ""))
        rest = [each for each in found if each.name > after]
        most = min(int(request.arguments.get("maxResults", MOST_RESULTS)), MOST_RESULTS)
        more = {"nextPageToken": page_token(rest[most - 1].name)} if len(rest) > most else {}
        return {"kind": "storage#buckets", "items": [bucket_json(each, NUMBER) for each in rest[:most]], **more}

    def get(request: Request) -> Json:
        found = objects.need_bucket(request.arguments["bucket"])
        conditions(request.arguments).check(found, reading=True)
        return bucket_json(found, NUMBER)

    def patch(request: Request) -> Json:
        changes = _settings(_changes(request))
        changed = objects.change_bucket(request.arguments["bucket"], lambda old: _merged(old, changes), conditions(request.arguments))
        return bucket_json(changed, NUMBER)

    def update(request: Request) -> Json:
        changed = objects.change_bucket(request.arguments["bucket"], lambda _: _settings(request.body), conditions(request.arguments))
        return bucket_json(changed, NUMBER)

    def delete(request: Request) -> Reply:
        objects.delete_bucket(request.arguments["bucket"], conditions(request.arguments))
        return Reply(204)

    return {
        "buckets.insert": insert,
        "buckets.list": listing,
        "buckets.get": get,
        "buckets.patch": patch,
        "buckets.update": update,
        "buckets.delete": delete,
    }


def _policies(objects: Objects) -> Mapping[str, Handler]:
    def permissions(request: Request) -> Json:
        objects.need_bucket(request.arguments["bucket"])
        asked = request.arguments.get("permissions", [])
        return {"kind": "storage#testIamPermissionsResponse", "permissions": asked}

    def policy(request: Request) -> Json:
        bucket = objects.need_bucket(request.arguments["bucket"])
        return {**POLICY, "resourceId": f"projects/_/buckets/{bucket.name}"}

    return {"buckets.testIamPermissions": permissions, "buckets.getIamPolicy": policy}


def _settings(body: Json) -> Json:
    """What a caller may set of a bucket. Raises StorageError for what would be kept and not obeyed."""
    if (body.get("versioning") or {}).get("enabled"):
        raise StorageError(501, "notImplemented", "NotImplemented", "The emulator's buckets keep no noncurrent versions.", "versioning")
    own = ("id", "kind", "selfLink", "name", "metageneration", "etag", "timeCreated", "updated", "projectNumber", "generation")
    return {name: value for name, value in body.items() if name not in own}


def _merged(old: Json, changes: Json) -> Json:
    """JSON merge patch: https://www.rfc-editor.org/rfc/rfc7396."""
    merged = dict(old)
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = _merged(merged[name] if isinstance(merged.get(name), dict) else {}, value)
        else:
            merged[name] = value
    return merged


# ---------------------------------------------------------------- objects


def _objects(objects: Objects) -> Mapping[str, Handler]:
    def insert(request: Request) -> Json:
        return insert_object(objects, request)

    def get(request: Request) -> Json | Reply:
        found = objects.need(*_at(request), generation=request.arguments.get("generation"))
        conditions(request.arguments).check(found, reading=True)
        return content(request.call, found, etag(found)) if request.call.argument("alt") == "media" else object_json(found)

    def listing(request: Request) -> Json:
        return list_objects(objects, request.arguments)

    def patch(request: Request) -> Json:
        changes = {name: value for name, value in _changes(request).items() if name in CHOSEN}
        return _changed(request, lambda old: _merged(old, changes))

    def update(request: Request) -> Json:
        fields = chosen(request.body)
        return _changed(request, lambda _: fields)

    def _changed(request: Request, change: Callable[[Json], Json]) -> Json:
        generation = request.arguments.get("generation")
        return object_json(objects.change(*_at(request), change, conditions(request.arguments), generation=generation))

    def delete(request: Request) -> Reply:
        objects.delete(*_at(request), conditions(request.arguments), generation=request.arguments.get("generation"))
        return Reply(204)

    return {
        "objects.insert": insert,
        "objects.get": get,
        "objects.list": listing,
        "objects.patch": patch,
        "objects.update": update,
        "objects.delete": delete,
    }


def _at(request: Request) -> tuple[str, str]:
    return request.arguments["bucket"], request.arguments["object"]


def insert_object(objects: Objects, request: Request) -> Json:
    """Write an object whose content came along."""
    body = request.body or {}
    name = request.arguments.get("name") or body.get("name")
    if not name:
        raise StorageError(400, "required", "InvalidArgument", "Required parameter: name", "name")
    if not isinstance(request.call, Upload):
        raise invalid("Upload requests must be sent to /upload/storage/v1/b/[BUCKET_NAME]/o")
    bucket, wanted = request.arguments["bucket"], conditions(request.arguments)
    objects.need_bucket(bucket)
    wanted.check(objects.get(bucket, name))  # early, so that nothing is copied in vain
    md5, crc32c = hashes(request.call)
    stored = verified(objects.store(request.call.media), body.get("md5Hash") or md5, body.get("crc32c") or crc32c)
    return object_json(objects.keep(bucket, name, stored, wanted, chosen(body)))


def list_objects(objects: Objects, arguments: Mapping[str, Any]) -> Json:
    """A page. What the emulator does not do is refused rather than left out of account."""
    for unknown in ("matchGlob", "filter", "softDeleted", "includeFoldersAsPrefixes"):
        if arguments.get(unknown):
            raise StorageError(501, "notImplemented", "NotImplemented", f"The emulator's listings know no {unknown}.", unknown)
    page = objects.list(
        arguments["bucket"],
        arguments.get("prefix", ""),
        delimiter=arguments.get("delimiter", ""),
        after=read_page_token(arguments.get("pageToken", "")),
        start=arguments.get("startOffset", ""),
        end=arguments.get("endOffset", ""),
        most=max(1, min(int(arguments.get("maxResults", MOST_RESULTS)), MOST_RESULTS)),
    )
    more: Json = {"nextPageToken": page_token(page.next)} if page.next else {}
    return {
        "kind": "storage#objects",
        **more,
        **({"prefixes": list(page.prefixes)} if page.prefixes else {}),
        **({"items": [object_json(each) for each in page.objects]} if page.objects else {}),
    }


# ---------------------------------------------------------------- copies


def _copies(objects: Objects) -> Mapping[str, Handler]:
    def copied(request: Request) -> Object:
        given = request.arguments
        source = objects.need(given["sourceBucket"], given["sourceObject"], generation=given.get("sourceGeneration"))
        conditions(given, "ifSource").check(source)
        fields = chosen(request.body) if request.body else source.fields
        return copy_object(objects, source, given["destinationBucket"], given["destinationObject"], conditions(given), fields)

    def copy(request: Request) -> Json:
        return object_json(copied(request))

    def rewrite(request: Request) -> Json:
        made = copied(request)
        size = str(made.size)
        return {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": size,
            "objectSize": size,
            "done": True,
            "resource": object_json(made),
        }

    def compose(request: Request) -> Json:
        bucket, name = request.arguments["destinationBucket"], request.arguments["destinationObject"]
        parts = request.body.get("sourceObjects", [])
        if not 1 <= len(parts) <= MOST_COMPOSED:
            raise invalid(f"The number of source components provided ({len(parts)}) must be between 1 and {MOST_COMPOSED}.")
        sources = [_component(objects, bucket, part) for part in parts]
        stored = objects.store(*(each.path for each in sources))
        fields = {**chosen(request.body.get("destination", {})), "componentCount": len(sources)}
        return object_json(objects.keep(bucket, name, stored, conditions(request.arguments), fields, composed=True))

    return {"objects.copy": copy, "objects.rewrite": rewrite, "objects.compose": compose}


def copy_object(objects: Objects, source: Object, bucket: str, name: str, wanted: Conditions, fields: Json) -> Object:
    """The same content under another name, in a file of its own."""
    return objects.put(bucket, name, source.path, conditions=wanted, fields=fields)


def _component(objects: Objects, bucket: str, part: Json) -> Object:
    generation = part.get("generation")
    found = objects.need(bucket, part.get("name", ""), generation=int(generation) if generation else None)
    match = part.get("objectPreconditions", {}).get("ifGenerationMatch")
    Conditions(generation=int(match) if match else None).check(found)
    return found
