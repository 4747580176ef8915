"""Refresh what README.md shows of the program itself: the support matrix and the demo's transcript.

python docs/readme.py           rewrite README.md (runs the demo, half a minute)
python docs/readme.py matrix    only the matrix
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
VARYING = [
    (r"local:///\S*?/\.mlport-demo", "local:///.../.mlport-demo"),
    (r"(?<=[ ])/\S*?/\.mlport-demo", "/.../.mlport-demo"),
    (r"flight-delays-\d{8}-\d{6}-[0-9a-f]{4}", "flight-delays-20261123-101502-4f2a"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:43117"),
]
NUMBERS = [
    (r"\b[0-9a-f]{12}\b", "<digest>"),
    (r"\d+(\.\d+)? s\b", "<time> s"),
    (r"\d+ MiB", "<memory> MiB"),
    (r"[\d,]+ flights a second", "<rate> flights a second"),
    (r"(local|vertex|azureml|databricks|sagemaker)  +(\S+)  +[\d.]+\+? +[\d.,]+", r"\1  \2  <amounts>"),
    (r"(0\.\d\d)\d+", r"\1"),
]


def matrix() -> str:
    """The support matrix of the providers that this distribution ships."""
    return _mlport("providers", "local", "vertex", "databricks", "--markdown", "--details")


def transcript() -> str:
    """What the demo prints, with what differs from machine to machine made the same."""
    with tempfile.TemporaryDirectory() as folder:
        return f"```\n{settled(_mlport('demo', '--folder', f'{folder}/.mlport-demo'))}\n```"


def settled(text: str) -> str:
    """`text` with paths, ports and ids replaced by lasting ones."""
    return _replaced(text, VARYING)


def comparable(text: str) -> str:
    """`text` without what a slower machine or another build of the libraries would change."""
    return _replaced(settled(text), NUMBERS)


def section(text: str, name: str) -> str:
    """What stands between a name's marks."""
    return text.partition(f"<!-- {name}: begin -->\n")[2].partition(f"\n<!-- {name}: end -->")[0]


def refreshed(text: str, name: str, content: str) -> str:
    """`text` with a section replaced."""
    before, begin, rest = text.partition(f"<!-- {name}: begin -->\n")
    end = f"<!-- {name}: end -->"
    return f"{before}{begin}{content}\n{end}{rest.partition(end)[2]}"


def _replaced(text: str, pairs: list[tuple[str, str]]) -> str:
    for pattern, replacement in pairs:
        text = re.sub(pattern, replacement, text)
    return text


def _mlport(*words: str) -> str:
    command = [str(Path(sys.executable).parent / "mlport"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["matrix", "demo"]
    fresh = README.read_text(encoding="utf-8")
    for name, make in {"matrix": matrix, "demo": transcript}.items():
        fresh = refreshed(fresh, name, make()) if name in wanted else fresh
    README.write_text(fresh, encoding="utf-8")
