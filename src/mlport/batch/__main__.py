"""`python -m mlport.batch REQUEST.json`: exit status 0, 1 when a row cannot be scored, 2 when the request cannot work.

Prints JSON lines: progress, and at the end what was done or what went wrong.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlport.batch.request import load
from mlport.errors import MlportError


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m mlport.batch REQUEST.json", file=sys.stderr)
        return 2
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        request = load(Path(sys.argv[1]))
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read once, when numpy is imported
            os.environ.setdefault(name, str(request.threads))
        from mlport.batch.scoring import run

        summary = run(request, _say)
    except MlportError as error:
        _say(error.to_json())
        print(f"mlport.batch: {error}", file=sys.stderr)
        return error.exit_code
    _log_metrics({"rows": summary.rows, "rows_per_second": summary.rows_per_second})
    _say({"done": True, **asdict(summary)})
    return 0


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def _log_metrics(metrics: dict[str, float]) -> None:
    if path := os.environ.get("MLPORT_METRICS"):
        with Path(path).open("a", encoding="utf-8") as out:
            out.writelines(json.dumps({"name": name, "value": value}) + "\n" for name, value in metrics.items())


if __name__ == "__main__":
    sys.exit(main())
