"""MLflow's scoring protocol, which SageMaker's `/invocations` and Vertex AI's predict route share a form with.

`{"dataframe_split": {"columns": [...], "data": [[...]]}}`, `{"dataframe_records": [{...}]}`, `{"instances": [...]}`,
`{"inputs": ...}`, CSV and Parquet; the answer is `{"predictions": [...]}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mlport.serving import answers
from mlport.serving.flavors import Model
from mlport.serving.pyfunc import CSV, JSON, PARQUET, loads
from mlport.serving.refusals import RefusedError
from mlport.serving.signature import Order, Row

BIG = 256 * 1024  # bytes; a longer body is parsed in the thread, not on the event loop


class Parsed(NamedTuple):
    """A request ready to score: rows for the native path or a call for the thread, and what its answer must echo."""

    rows: list[Row]
    call: Callable[[], Any] | None
    echo: Any = None


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    data: Raw
    columns: Raw | UnsetType = UNSET


class _Envelope(msgspec.Struct):
    dataframe_split: _Split | UnsetType = UNSET
    dataframe_records: Raw | UnsetType = UNSET
    instances: Raw | UnsetType = UNSET
    inputs: Raw | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    parameters: Raw | UnsetType = UNSET

    @property
    def forms(self) -> int:
        """How many of the forms were used; it must be one."""
        return 4 - (self.dataframe_split, self.dataframe_records, self.instances, self.inputs).count(UNSET)


_envelopes = msgspec.json.Decoder(_Envelope)
_names = msgspec.json.Decoder(list[str])


@dataclass(frozen=True)
class Scoring:
    """The dialect for one model. `positional` also takes instances that are plain lists, as Vertex AI's clients send."""

    model: Model
    positional: bool = False

    def read(self, body: bytes, content_type: str) -> Parsed:
        """Parse a request; the fast way where its meaning is beyond doubt, else MLflow's."""
        kind = _media_type(content_type)
        if not body.strip():
            raise RefusedError(400, "the body is empty; send JSON such as " + self.model.sample)
        if kind == JSON and self.model.native and len(body) <= BIG and (rows := self._rows(body)):
            return Parsed(rows, None)
        return Parsed([], partial(self.score, body, kind))

    def write(self, predictions: Any, echo: Any) -> bytes:
        return answers.predictions(predictions)

    def score(self, body: bytes, kind: str) -> Any:
        """All at once, in the thread: the fast way if it can be, else through MLflow."""
        if kind == JSON and self.model.native and (rows := self._rows(body)):
            return self.model.predict(rows)
        if kind == JSON and self.positional:
            body = _as_mlflow_has_it(body, self.model)
        return self.model.pyfunc.score(body, kind)

    def _rows(self, body: bytes) -> list[Row] | None:
        """The rows in the model's order, None when MLflow has to look at the request."""
        try:
            sent = _envelopes.decode(body)
            if (sent.parameters if self.positional else sent.params) is not UNSET or sent.forms != 1:
                return None
            if sent.dataframe_split is not UNSET:
                order = self._order(sent.dataframe_split.columns)
                return order.arrange(order.decoder.decode(sent.dataframe_split.data)) if order.decoder else None
            return self._instances(sent)
        except msgspec.DecodeError:
            return None

    def _instances(self, sent: _Envelope) -> list[Row] | None:
        signature = self.model.signature
        if sent.dataframe_records is not UNSET:
            return self._records(sent.dataframe_records)
        raw = sent.instances if sent.instances is not UNSET else sent.inputs
        if raw is UNSET:
            return None
        if sent.instances is not UNSET and bytes(raw).lstrip(b"[ \t\r\n")[:1] == b"{":
            return self._records(raw) if self.positional or signature.numeric else None
        return signature.rows.decode(raw) if signature.tensor or (self.positional and sent.instances is not UNSET) else None

    def _records(self, raw: Raw) -> list[Row] | None:
        signature = self.model.signature
        return [msgspec.structs.astuple(record) for record in signature.records.decode(raw)] if signature.named else None

    def _order(self, columns: Raw | UnsetType) -> Order:
        if columns is UNSET:
            signature = self.model.signature
            return Order(None if signature.named else signature.rows, None)
        return _order_of(self.model, bytes(columns))


@lru_cache(maxsize=256)
def _order_of(model: Model, columns: bytes) -> Order:
    names = _names.decode(columns)
    signature = model.signature
    if signature.named and (signature.declared or tuple(names) == signature.names):
        return signature.order_of(names)
    same_width = not signature.named and len(names) == len(signature.names)
    return Order(signature.rows if same_width else None, None)


@lru_cache(maxsize=64)
def _media_type(content_type: str) -> str:
    """The media type without its parameters. Raises RefusedError (415) for one that is not spoken here."""
    kind, _, parameters = content_type.partition(";")
    kind, charset = kind.strip().lower() or JSON, parameters.strip().lower().removeprefix("charset=").strip('"')
    if kind not in (JSON, CSV, PARQUET):
        raise RefusedError(415, f"content type {kind!r} is not supported; send {JSON}, {CSV} or {PARQUET}")
    if charset not in ("", "utf-8", "utf8"):
        raise RefusedError(415, f"charset {charset!r} is not supported; send utf-8")
    return kind


def _as_mlflow_has_it(body: bytes, model: Model) -> bytes:
    """`{"instances": [...], "parameters": {...}}` in MLflow's words: rows by position get the model's column names."""
    payload = loads(body)
    rows = payload.get("instances")
    if not isinstance(rows, list) or not rows:
        raise RefusedError(400, "instances must be a list of at least one row")
    said: dict[str, Any] = {"params": payload["parameters"]} if payload.get("parameters") else {}
    signature = model.pyfunc.signature
    if all(isinstance(row, list) for row in rows) and signature and signature.named:
        return answers.encode({"dataframe_split": {"columns": signature.names, "data": rows}, **said})
    form = "dataframe_records" if all(isinstance(row, dict) for row in rows) else "instances"
    return answers.encode({form: rows, **said})
