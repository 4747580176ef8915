"""`python -m mlport.serving MODEL_DIR`: exit status 0 after SIGTERM, 1 if the model cannot be served, 2 for wrong arguments."""

from __future__ import annotations

import json
import os
import sys

from mlport.errors import MlportError
from mlport.serving.options import parse


def main() -> int:
    try:
        options = parse(sys.argv[1:], os.environ)
    except MlportError as error:
        print(f"mlport.serving: {error}", file=sys.stderr)
        return 2
    # Before numpy is imported: its libraries read these once. What the environment says already counts more.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(options.threads))
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Whatever the model's own code prints must not be taken for the line that says ready.
    with os.fdopen(os.dup(1), "w") as announce:
        os.dup2(2, 1)
        try:
            from mlport.serving.process import run

            run(options, announce)
        except (MlportError, OSError) as error:
            print(json.dumps({"ready": False, "error": str(error)}), file=announce, flush=True)
            print(f"mlport.serving: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
