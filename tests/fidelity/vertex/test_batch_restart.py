"""The emulator killed in the middle of a batch prediction job and started again on its folder: all is scored, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aids.process import emulating
from aids.vertex.jobs import ENDED, until
from aids.vertex.models import BUCKET, MACHINE, P, ask, held, lines, put, read, upload

from mlport.emulation.server import Ready

ROWS = 4_000
DIRECTORY = {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/out"}}
TABLE = {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": "bq://emulated"}}


def begun(ready: Ready, model: str, target: dict[str, Any]) -> str:
    body = {
        "displayName": "batch",
        "model": model,
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"gs://{BUCKET}/in/a.jsonl"]}},
        "outputConfig": target,
        "dedicatedResources": {"machineSpec": MACHINE["machineSpec"]},
    }
    return str(ask(ready, "POST", f"{P}/batchPredictionJobs", body)["name"])


def ended(ready: Ready, name: str) -> dict[str, Any]:
    return until(ready, name, lambda found: found["state"] in ENDED)


def test_a_killed_emulator_scores_everything_once(tmp_path: Path) -> None:
    """Killed while it scores; then after it has put the results where they belong, before it says that they are there."""
    gate = tmp_path / "gate"
    with emulating("vertex", tmp_path / "state") as emulated:
        model = upload(emulated.ready, put(emulated.ready, "m/model.pkl", held(gate, row=ROWS // 2 + 0.5)))
        put(emulated.ready, "in/a.jsonl", b"".join(b"[%d.5, 0.0]\n" % number for number in range(ROWS)))
        scored = begun(emulated.ready, model, DIRECTORY)
        until(emulated.ready, scored, lambda found: found["state"] == "JOB_STATE_RUNNING")
        emulated.kill()
        emulated.die_at("after-batch-output")
        emulated.start()
        gate.touch()
        emulated.died(120)
        emulated.start()
        found = ended(emulated.ready, scored)
        assert found["state"] == "JOB_STATE_SUCCEEDED", found
        assert found["completionStats"]["successfulCount"] == str(ROWS)
        listed = ask(emulated.ready, "GET", f"/storage/v1/b/{BUCKET}/o?prefix=out/")["items"]
        assert len({each["name"].split("/")[1] for each in listed}) == 1
        results = lines(read(emulated.ready, found["outputInfo"]["gcsOutputDirectory"])["prediction.results-00000-of-00001"])
        assert [line["instance"][0] for line in results] == [number + 0.5 for number in range(ROWS)]
        emulated.die_at("after-batch-output")
        written = begun(emulated.ready, model, TABLE)
        emulated.died(120)
        emulated.start()
        found = ended(emulated.ready, written)
        assert found["state"] == "JOB_STATE_SUCCEEDED", found
        dataset = found["outputInfo"]["bigqueryOutputDataset"].removeprefix("bq://emulated.")
        query = {"query": f"SELECT COUNT(*), COUNT(DISTINCT instance) FROM `{dataset}.predictions`", "useLegacySql": False}
        (row,) = ask(emulated.ready, "POST", "/bigquery/v2/projects/emulated/queries", query)["rows"]
        assert [cell["v"] for cell in row["f"]] == [str(ROWS), str(ROWS)]
