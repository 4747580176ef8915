"""Request-response logging: what passed through an endpoint, as rows of a BigQuery table.

A row is written to a spool file before the answer leaves, and moved from there to the table, so that none is lost when
the emulator is killed; one may then come twice, as BigQuery's own streaming allows. It is shown `LAG` seconds later, or
after the seconds of the fault "lag" of the call.

The columns are those that public programs query (docs/spi/vertex.md); that `request_payload` has one text for each
instance of :predict is how GoogleCloudPlatform's own sample reads it: `UNNEST(request_payload) AS payload`, and `payload`
is `[1.0,2.0]`. That :rawPredict is logged as one text, the body, is a guess, and so is that `parameters` are not logged.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.rules import invalid

Json = dict[str, Any]
LAG = 1.0  # seconds; the real one is minutes
TABLE = "request_response_logging"
COLUMNS = [
    {"name": "endpoint", "type": "STRING", "mode": "NULLABLE"},
    {"name": "deployed_model_id", "type": "STRING", "mode": "NULLABLE"},
    {"name": "logging_time", "type": "TIMESTAMP", "mode": "NULLABLE"},
    {"name": "request_id", "type": "NUMERIC", "mode": "NULLABLE"},
    {"name": "request_payload", "type": "STRING", "mode": "REPEATED"},
    {"name": "response_payload", "type": "STRING", "mode": "REPEATED"},
]
_URI = re.compile(r"bq://([^.\s]+)(?:\.(\w+)(?:\.([\w-]+))?)?")
FIELD = "endpoint.predict_request_response_logging_config"


def check_logging(place: Place, config: Json | None) -> None:
    """Refuse what cannot be logged to: a named table must be new, and in a dataset that exists."""
    if not config or not config.get("enabled"):
        return
    if not 0 < config.get("samplingRate", 0) <= 1:
        raise invalid(f"{FIELD}.sampling_rate", "It must be in the range (0, 1].")
    project, dataset, table = _destination(config)
    if table and not place.tables.has_dataset(project, dataset):
        raise ApiError("FAILED_PRECONDITION", f"The BigQuery dataset {project}.{dataset} does not exist.")
    if table and place.tables.has_table(project, dataset, table):
        raise ApiError("FAILED_PRECONDITION", f"The BigQuery table {project}.{dataset}.{table} already exists.")


def prepare_logging(place: Place, endpoint: str, display_name: str, config: Json) -> Json:
    """Make the table, and its dataset if none is named; the configuration with the whole address of the table."""
    if not config.get("enabled"):
        return config
    project, dataset, table = _destination(config)
    dataset = dataset or re.sub(r"\W", "_", f"logging_{display_name}_{endpoint.rpartition('/')[2]}")
    table = table or TABLE
    if not place.tables.has_table(project, dataset, table):  # an emulator that was killed here had made it
        place.tables.create(project, dataset, table, COLUMNS)
    return {**config, "bigqueryDestination": {"outputUri": f"bq://{project}.{dataset}.{table}"}}


def _destination(config: Json) -> tuple[str, str, str]:
    uri = config.get("bigqueryDestination", {}).get("outputUri", "")
    found = _URI.fullmatch(uri)
    if found is None:
        raise invalid(f"{FIELD}.bigquery_destination.output_uri", f"It must be bq://project[.dataset[.table]], not {uri!r}.")
    return found[1], found[2] or "", found[3] or ""


class TrafficLog:
    """Writes the rows of all endpoints of a place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._folder = place.folder / "traffic"
        self._folder.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        place.chore(self.move)

    def write(self, endpoint: Json, deployed: str, sent: Sequence[str], answered: Sequence[str], lag: float = LAG) -> None:
        """Log one exchange, if the endpoint logs and this one is sampled."""
        config: Mapping[str, Any] = endpoint.get("predictRequestResponseLoggingConfig", {})
        if not config.get("enabled") or random.random() >= config["samplingRate"]:  # noqa: S311 - sampling is no secret
            return
        row = {
            "endpoint": endpoint["name"].rpartition("/")[2],
            "deployed_model_id": deployed,
            "logging_time": now(),
            "request_id": str(random.getrandbits(63)),
            "request_payload": list(sent),
            "response_payload": list(answered),
        }
        line = {"table": config["bigqueryDestination"]["outputUri"], "due": time.time() + lag, "row": row}
        with self._lock, (self._folder / "spool").open("ab") as spool:
            spool.write(json.dumps(line).encode() + b"\n")

    def move(self) -> None:
        """Take what is spooled; append what is due, keep the rest."""
        with self._lock:
            spool = self._folder / "spool"
            if spool.exists():
                os.replace(spool, self._folder / f"{time.time_ns()}.jsonl")
        for file in sorted(self._folder.glob("*.jsonl")):
            self._move_file(file)

    def _move_file(self, file: Any) -> None:
        lines = [json.loads(text) for text in file.read_bytes().splitlines()]
        if any(line["due"] > time.time() for line in lines):
            return
        for uri in dict.fromkeys(line["table"] for line in lines):
            project, dataset, table = _destination({"bigqueryDestination": {"outputUri": uri}})
            if self._place.tables.has_table(project, dataset, table):  # its owner may have removed it
                self._place.tables.append(project, dataset, table, [line["row"] for line in lines if line["table"] == uri])
        file.unlink()
