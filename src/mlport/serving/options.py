"""What the server was asked to do: arguments, and the variables that a hosted container gets."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlport.errors import UsageError

MOST_SOCKET_PATH = 107  # bytes, of the kernel's sockaddr_un


@dataclass(frozen=True, slots=True)
class Options:
    """One server.

    Attributes:
        uds: A unix socket's path; else `host` and `port` (0: any free one).
        capture: The folder that exchanges are kept under; None keeps nothing.
        capture_rate: The share of requests kept, 0 to 1.
        most_body: Bytes.
        threads: For the model's own libraries.
        health_route, predict_route: Vertex AI's container contract.
    """

    model_dir: Path
    uds: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    endpoint: str = "endpoint"
    deployment: str = "deployment"
    model: str = "model"
    model_version: str | None = None
    capture: Path | None = None
    capture_rate: float = 1.0
    most_body: int = 64 * 2**20
    threads: int = 1
    health_route: str | None = None
    predict_route: str | None = None


def parse(argv: Sequence[str], env: Mapping[str, str]) -> Options:
    """Options from the command line and, where `AIP_HTTP_PORT` is set, from Vertex AI's container contract.

    Raises:
        UsageError: when a value cannot be used; the message names it.
    """
    args = _parser().parse_args(argv)
    hosted = "AIP_HTTP_PORT" in env
    folder = args.model_dir or env.get("AIP_STORAGE_URI") or None
    if folder is None:
        raise UsageError("no model: name its folder", hint="python -m mlport.serving MODEL_DIR --port 8080")
    if "://" in folder:
        raise UsageError(f"{folder}: the model must be a local folder", hint="copy or mount it, and name the folder as MODEL_DIR")
    if not 0 <= args.capture_rate <= 1:
        raise UsageError(f"--capture-rate {args.capture_rate} must be between 0 and 1")
    if args.uds and len(args.uds.encode()) > MOST_SOCKET_PATH:
        raise UsageError(f"--uds {args.uds}: a socket's path can have {MOST_SOCKET_PATH} bytes; this one has {len(args.uds.encode())}")
    return Options(
        model_dir=Path(folder),
        uds=Path(args.uds) if args.uds else None,
        host=args.host or ("0.0.0.0" if hosted else "127.0.0.1"),  # noqa: S104 - a container's port is reached from outside
        port=args.port if args.port is not None else _port(env.get("AIP_HTTP_PORT", "8080")),
        endpoint=args.endpoint,
        deployment=args.deployment,
        model=args.model,
        model_version=args.model_version,
        capture=args.capture if args.capture_rate > 0 else None,
        capture_rate=args.capture_rate,
        most_body=args.max_body,
        threads=args.threads,
        health_route=_route(env, "AIP_HEALTH_ROUTE") if hosted else None,
        predict_route=_route(env, "AIP_PREDICT_ROUTE") if hosted else None,
    )


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise UsageError(f"AIP_HTTP_PORT={text!r} is not a port")
    return int(text)


def _route(env: Mapping[str, str], name: str) -> str | None:
    route = env.get(name)
    if route and not route.startswith("/"):
        raise UsageError(f"{name}={route!r} must start with a slash")
    return route.rstrip("/") or "/" if route else None


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mlport.serving", description="Serve one MLflow model folder.", allow_abbrev=False)
    parser.add_argument("model_dir", nargs="?", help="the model's folder; default $AIP_STORAGE_URI")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--uds", metavar="PATH", help="listen on a unix socket")
    where.add_argument("--port", type=int, help="listen on this port, 0 for any free one; default $AIP_HTTP_PORT, else 8080")
    parser.add_argument("--host", help="the address to bind to; default 127.0.0.1, in a hosted container all")
    parser.add_argument("--endpoint", default="endpoint", help="its name, as captured")
    parser.add_argument("--deployment", default="deployment", help="its name, as captured")
    parser.add_argument("--model", default="model", help="the model's name in /v2/models")
    parser.add_argument("--model-version")
    parser.add_argument("--capture", type=Path, metavar="DIR", help="keep requests and answers under this folder")
    parser.add_argument("--capture-rate", type=float, default=1.0, metavar="RATE", help="the share kept, 0 to 1")
    parser.add_argument("--max-body", type=_positive, default=64 * 2**20, metavar="BYTES", help="largest request body")
    parser.add_argument("--threads", type=_positive, default=1, metavar="N", help="threads for the model's own libraries")
    return parser
