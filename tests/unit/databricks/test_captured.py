"""Rows of an inference table in mlport's schema."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from mlport.spi import Window
from mlport_databricks.serving.captured import Answered, batches, logged, micros, since
from mlport_databricks.serving.predicting import client_id_of, ids_of

OURS = "0" * 31 + "1"
KNOWN = {"e1": Answered("blue", "main.ml.delays", "1"), "e2": Answered("green", "main.ml.delays", "2")}


def row(
    entity: str = "e1", number: str = "n1", client: str | None = None, time: int = 1_000_000, status: int = 200, **body: Any
) -> list[str | None]:
    """A row as the Statement Execution API answers with it: all is text."""
    sent = {"dataframe_records": [{"x": 1.0}, {"x": 2.0}], **body}
    answer = {"predictions": [10, 20]} if status == 200 else {"error_code": "BAD_REQUEST"}
    return [entity, str(time), number, client, str(status), "25", json.dumps(sent), json.dumps(answer)]


def table(*rows: list[str | None]) -> list[dict[str, Any]]:
    found = [pa.Table.from_batches([batch]) for batch in batches([logged(each) for each in rows], KNOWN, "delays")]
    return pa.concat_tables(found).to_pylist() if found else []


def test_a_request_is_as_many_rows_as_it_scored() -> None:
    found = table(row(client=client_id_of(OURS, "order 7")))
    assert [(each["provider_id"], each["caller_id"], each["row"]) for each in found] == [(OURS, "order 7", 0), (OURS, "order 7", 1)]
    assert [(each["features"], each["prediction"]) for each in found] == [({"x": 1.0}, 10), ({"x": 2.0}, 20)]
    assert {(each["deployment"], each["model_version"], each["status"], each["latency"]) for each in found} == {("blue", "1", 200, 0.025)}
    assert {each["time"] for each in found} == {datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)}
    assert {each["sampling_rate"] for each in found} == {1.0}


def test_requests_of_others_have_databricks_own_id() -> None:
    found = table(row(number="n7", client="theirs"), row(number="n8"))
    assert [(each["provider_id"], each["caller_id"]) for each in found[::2]] == [("n7", "theirs"), ("n8", None)]


def test_deployments_are_in_order_of_time_together() -> None:
    found = table(row("e2", "n2", time=2), row("e1", "n1", time=1), row("e2", "n3", time=3))
    assert [each["deployment"] for each in found[::2]] == ["blue", "green", "green"]
    assert [each["model_version"] for each in found[::2]] == ["1", "2", "2"]


def test_who_answered_is_null_where_nobody_tells() -> None:
    found = table(row("past"))
    assert {(each["deployment"], each["model_version"]) for each in found} == {(None, None)}


def test_what_was_refused_or_cannot_be_parsed_is_kept_as_it_is() -> None:
    odd = row(number="n2")
    odd[6] = "no json"
    found = table(row(status=400), odd)
    assert [(each["row"], each["features"]) for each in found] == [(0, None), (0, None)]
    assert [each["status"] for each in found] == [400, 200]
    assert found[1]["raw"] == b"no json"


def test_what_was_too_large_to_be_logged_is_left_out() -> None:
    large = row(number="n2")
    large[6] = None
    assert len(table(row(), large)) == 2
    assert table(large) == []


def test_both_ids_travel_as_one() -> None:
    for caller in (None, "", "a:b", "é\n"):
        assert ids_of(client_id_of(OURS, caller)) == (OURS, caller)


def test_a_window_begins_with_the_endpoint() -> None:
    made = datetime(2026, 1, 2, tzinfo=UTC)
    told = {"creation_timestamp": int(made.timestamp() * 1000)}
    before, after = made - timedelta(days=1), made + timedelta(days=1)
    assert since(told, Window(before, after)) == Window(made, after)
    assert since(told, Window(after, after + timedelta(1))).start == after
    gone = since(told, Window(before - timedelta(1), before))
    assert gone.start == gone.end, "what lies before is of another endpoint"


def test_times_are_exact() -> None:
    assert micros(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert micros(datetime(9999, 1, 1, 0, 0, 0, 1, tzinfo=UTC)) % 1_000_000 == 1
