"""docs/audit.md shows what the example prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[3]
EXAMPLE = REPO / "examples" / "audit" / "digits.py"


def worded(text: str) -> list[str]:
    """The lines without what another build of the libraries would change: numbers and the widths of columns."""
    lines = [re.sub(r"\s+", " ", re.sub(r"[-±]?\d[\d.,]*(e-\d+)?%?", "#", line)).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def test_the_page_shows_what_the_example_prints() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-W", "error", EXAMPLE], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    page = (REPO / "docs" / "audit.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- digits: begin -->\n```\n")[2].partition("\n```\n<!-- digits: end -->")[0]
    assert worded(shown) == worded(done.stdout)
    assert "first: threshold: another threshold" in done.stdout
