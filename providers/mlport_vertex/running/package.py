"""What a job's container fetches and runs: one zip in the staging folder, named by its content, and the command that does it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

PACKAGE = "${package}"
"""Stands in a plan for the package's digest, which only submit knows."""
PACKED = "${packed}"
"""Stands in a requirement for the folder that the package is unpacked to."""
SAME_TIME = (1980, 1, 1, 0, 0, 0)

BOOTSTRAP = """\
import hashlib, io, json, os, sys, tempfile, time, urllib.parse, urllib.request, zipfile
bucket, _, name = sys.argv[1][len("gs://"):].partition("/")
host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
ask = urllib.request.Request("http://" + host + "/computeMetadata/v1/instance/service-accounts/default/token", headers={"Metadata-Flavor": "Google"})
url = "https://storage.googleapis.com/storage/v1/b/" + bucket + "/o/" + urllib.parse.quote(name, safe="") + "?alt=media"
for attempt in range(5):
    try:
        token = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(ask, timeout=60))["access_token"]
        get = urllib.request.Request(url, headers={"Authorization": "Bearer " + token})
        package = urllib.request.urlopen(get, timeout=600).read()
        break
    except OSError as error:
        print("mlport: the job's package is not there yet:", error, flush=True)
        time.sleep(2 ** attempt)
else:
    sys.exit("mlport: " + sys.argv[1] + " could not be fetched")
if hashlib.sha256(package).hexdigest() != os.path.basename(name)[:64]:
    sys.exit("mlport: " + sys.argv[1] + " is not what its name says")
folder = tempfile.mkdtemp(prefix="mlport-")
zipfile.ZipFile(io.BytesIO(package)).extractall(folder)
os.execv(sys.executable, [sys.executable, os.path.join(folder, "entry.py"), folder, *sys.argv[2:]])
"""


def package(bundle: Path | None, wheels: Iterable[Path] = ()) -> tuple[bytes, str]:
    """The zip, and its SHA-256: the runner, what goes with it, the packed source, and wheels of this machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in _members(bundle, wheels):
            archive.writestr(zipfile.ZipInfo(name, SAME_TIME), content)
    content = buffer.getvalue()
    return content, hashlib.sha256(content).hexdigest()


def _members(bundle: Path | None, wheels: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for name in ("entry.py", "gcs.py", "trial.py"):
        yield name, files("mlport_vertex.in_job").joinpath(name).read_bytes()
    for name in ("mlport_node.py", "mlport_runner.py"):
        yield name, files("mlport").joinpath(name).read_bytes()
    if bundle is not None:
        yield "bundle.tar.gz", bundle.read_bytes()
    for wheel in sorted(wheels):
        yield f"wheels/{wheel.name}", wheel.read_bytes()
