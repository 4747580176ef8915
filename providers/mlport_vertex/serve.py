"""What a built image runs: fetches the model as the deployment's own account, then becomes mlport's model server."""

from __future__ import annotations

import os
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path

from mlport.serving.__main__ import main as serving
from mlport_vertex.in_job.gcs import Storage

MODEL = "AIP_STORAGE_URI"
"""https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#aip-variables"""


def fetched(where: str) -> str:
    """A folder of this machine with the model at an address. Raises OSError, HTTPException."""
    if not where.startswith("gs://"):
        return where
    folder = str(Path(tempfile.mkdtemp(prefix="mlport-"), "model"))
    if not Storage().download(where.rstrip("/") + "/", folder):
        raise FileNotFoundError("there is nothing")
    return folder


def main() -> int:
    """Exit status 2 where no model is named, 1 where it cannot be fetched; else the server's."""
    where = os.environ.get(MODEL, "")
    if not where:
        print(f"mlport: {MODEL} is not set: it names the model's folder", file=sys.stderr)
        return 2
    try:
        folder = fetched(where)
    except (OSError, HTTPException) as error:
        print(f"mlport: {where} could not be fetched: {error}", file=sys.stderr)
        return 1
    sys.argv = ["mlport.serving", folder]
    return serving()


if __name__ == "__main__":
    sys.exit(main())
