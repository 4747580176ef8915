"""jobs/runs/export: the notebook of a run as a page, which has it as the SDK's text says: a JSON object in a script.

The page holds the notebook's cells and no results; https://docs.databricks.com/_static/examples/extract.py takes a model out of it that
is written as here: JSON, percent-encoded, in base64. It has no dashboards.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlport_databricks.emulator.protocol.errors import invalid
from mlport_databricks.emulator.working.programs.notebook import cells
from mlport_databricks.emulator.working.run_records import Found, spec_of

Json = dict[str, Any]
PAGE = """<!DOCTYPE html>
<html>
<head><meta charset="utf-8"><title>{title}</title>
<script>__DATABRICKS_NOTEBOOK_MODEL = '{model}'</script>
</head>
<body><pre>{source}</pre></body>
</html>
"""


def exported(found: Found, folder: Path, views: str) -> Json:
    """The views of one attempt. Raises ApiError for what is no notebook's, or has not begun; the words are guesses."""
    if found.attempt is None or found.task is None:
        raise invalid("Exporting runs with multiple tasks is not supported. Please export each individual task run instead.")
    task = spec_of(found.run, found.task["key"])
    task = task["for_each_task"]["task"] if found.unit is not found.task else task
    if "notebook_task" not in task:
        raise invalid(f"Run {found.attempt['run_id']} is not of a notebook: only those can be exported.")
    kept = folder / "notebook_source"
    if not kept.exists():
        raise invalid(f"Run {found.attempt['run_id']} has not run its notebook: there is nothing to export.")
    name = task["notebook_task"]["notebook_path"].rpartition("/")[2]
    view = {"content": page(name, kept.read_text(encoding="utf-8")), "name": name, "type": "NOTEBOOK"}
    return {"views": [] if views == "DASHBOARDS" else [view]}


def page(name: str, source: str) -> str:
    commands = [{"position": float(number), "command": cell} for number, cell in enumerate(cells(source), 1)]
    model = {"version": "NotebookV1", "name": name, "language": "python", "commands": commands}
    packed = base64.b64encode(quote(json.dumps(model)).encode()).decode()
    return PAGE.format(title=html.escape(name), model=packed, source=html.escape(source))
