"""All benchmarks one after the other, each in a process of its own; at the end every goal with PASS or MISS, and exit status 1 for a miss."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _measure import PYTHON, Goal

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
NAMES = ("startup", "submit", "swarm", "registry", "batch", "serving", "vertex", "databricks_sdk", "costs", "drift")


def run(name: str, options: list[str]) -> dict[str, Any] | None:
    """Run one, its output passed on; what its last line says, None if it broke off before that."""
    command = [PYTHON, str(Path(__file__).with_name(f"{name}.py")), *options]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as script:
        for last in script.stdout or ():
            print(last, end="", flush=True)
    found: dict[str, Any] | None = json.loads(last) if script.returncode in (0, 1) and last.startswith("{") else None
    return found


def goals(found: dict[str, Any]) -> list[Goal]:
    return [Goal(**{field: value for field, value in said.items() if field != "met"}) for said in found["goals"]]


def table(results: dict[str, dict[str, Any] | None]) -> str:
    """The goals as Markdown, and the machine that they were measured on."""
    rows = [
        f"| {name} | {goal.what} | {goal.value:,.4g} {goal.unit} | {goal.bound} {goal.wanted:,g} | {'yes' if goal.met else '**no**'} |"
        for name, found in results.items()
        if found
        for goal in goals(found)
    ]
    machine = ", ".join(f"{what} {value}" for found in list(results.values())[:1] if found for what, value in found["machine"].items())
    return "\n".join(
        ["| benchmark | goal | measured | wanted | met |", "|---|---|--:|--:|---|", *rows, "", f"{datetime.now(UTC):%Y-%m-%d}: {machine}."]
    )


def replace(page: Path, text: str) -> None:
    """Put text between the page's two marks. Raises ValueError if it has none."""
    before, found, rest = page.read_text(encoding="utf-8").partition(f"{BEGIN}\n")
    _, also_found, after = rest.partition(END)
    if not (found and also_found):
        raise ValueError(f"{page}: has no {BEGIN} with an {END} after it")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"which of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that all works, not what it can do")
    parser.add_argument("--page", type=Path, help="a Markdown page whose figures are to be replaced by these")
    parser.add_argument("--json", type=Path, help="a file for all results, one JSON object a line")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(NAMES)}")
    began, results = time.monotonic(), dict[str, dict[str, Any] | None]()
    for name in options.names:
        print(f"== {name}", flush=True)
        results[name] = run(name, ["--quick"] if options.quick else [])
    if options.json:
        options.json.write_text("".join(f"{json.dumps(found)}\n" for found in results.values() if found), encoding="utf-8")
    if options.page:
        replace(options.page, table(results))
    print(f"== goals, after {(time.monotonic() - began) / 60:.1f} minutes")
    for name, found in results.items():
        for goal in goals(found) if found else ():
            print(f"{name:10} {goal}")
    broken = [name for name, found in results.items() if found is None]
    for name in broken:
        print(f"{name:10} MISS  it broke off; what it printed says why")
    return 0 if not broken and all(goal.met for found in results.values() if found for goal in goals(found)) else 1


if __name__ == "__main__":
    sys.exit(main())
