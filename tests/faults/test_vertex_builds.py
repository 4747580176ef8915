"""The emulator killed while it builds and while a built image serves: the container goes on, the build is done by the next."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from aids.process import emulating, nothing_works
from aids.vertex.models import BUCKET, P, ask, deploy, done, endpoint, put, until

from mlport.emulation.server import Ready

REPOSITORY = "us-central1-docker.pkg.dev/emulated/mlport"
SERVER = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps({"predictions": [os.getpid()]}).encode())
HTTPServer(("127.0.0.1", int(os.environ["AIP_HTTP_PORT"])), Handler).serve_forever()
"""
WAITS = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)\n"


def submitted(ready: Ready, name: str, files: dict[str, str]) -> str:
    """A build's name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    put(ready, f"sources/{name}.tar.gz", buffer.getvalue())
    image = f"{REPOSITORY}/{name}:1"
    steps = [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "-t", image, "."]}]
    source = {"storageSource": {"bucket": BUCKET, "object": f"sources/{name}.tar.gz"}}
    return str(ask(ready, "POST", f"{P}/builds", {"source": source, "steps": steps, "images": [image]})["metadata"]["build"]["name"])


def test_a_container_goes_on_and_a_build_is_done_by_the_next(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    # the gate is a file of this machine, which the program opens by a path that the Dockerfile's text does not have
    waits = f"{WAITS.replace('sys.argv[1]', repr(str(gate)))}"
    with emulating("vertex", tmp_path / "state") as emulated:
        ready = emulated.ready
        served = submitted(ready, "server", {"Dockerfile": 'FROM python:3.11\nCOPY s.py /s.py\nCMD ["python", "/s.py"]\n', "s.py": SERVER})
        until(lambda: ask(ready, "GET", f"/v1/{served}")["status"] == "SUCCESS", 120)
        container = {"imageUri": f"{REPOSITORY}/server:1", "predictRoute": "/p", "healthRoute": "/h"}
        model = done(ready, ask(ready, "POST", f"{P}/models:upload", {"model": {"displayName": "m", "containerSpec": container}}))["model"]
        where = endpoint(ready)
        done(ready, deploy(ready, where, model, {"0": 100}, id="7"))
        before = ask(ready, "POST", f"/v1/{where}:predict", {"instances": [1]})["predictions"]
        slow = submitted(ready, "slow", {"Dockerfile": "FROM python:3.11\nCOPY w.py /w.py\nRUN python /w.py\n", "w.py": waits})
        until(lambda: ask(ready, "GET", f"/v1/{slow}")["status"] == "WORKING", 60)
        emulated.kill()
        emulated.start()
        ready = emulated.ready
        assert ask(ready, "POST", f"/v1/{where}:predict", {"instances": [1]})["predictions"] == before
        assert ask(ready, "GET", f"/v1/{slow}")["status"] == "WORKING"
        gate.touch()
        until(lambda: ask(ready, "GET", f"/v1/{slow}")["status"] == "SUCCESS", 120)
        done(ready, ask(ready, "POST", f"/v1/{where}:undeployModel", {"deployedModelId": "7"}))
        nothing_works(emulated)
