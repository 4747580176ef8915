"""All benchmarks one after the other, each in a process of its own; at the end every goal with PASS or MISS, and exit status 1 for a miss."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _measure import PYTHON, Goal

NAMES = ("startup", "submit", "swarm", "registry", "batch", "serving")


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"which of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that all works, not what it can do")
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
