"""Arguments and the variables of hosted containers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlport.errors import UsageError
from mlport.serving.options import parse


def test_defaults_are_private() -> None:
    options = parse(["model"], {})
    assert (options.host, options.port, options.uds, options.capture) == ("127.0.0.1", 8080, None, None)


def test_a_hosted_container() -> None:
    env = {"AIP_HTTP_PORT": "9000", "AIP_HEALTH_ROUTE": "/h/", "AIP_PREDICT_ROUTE": "/p", "AIP_STORAGE_URI": "/models/m"}
    options = parse([], env)
    assert (options.host, options.port, options.model_dir) == ("0.0.0.0", 9000, Path("/models/m"))
    assert (options.health_route, options.predict_route) == ("/h", "/p")
    assert parse(["other", "--port", "1"], env).port == 1


@pytest.mark.parametrize(
    ("argv", "env", "says"),
    [
        ([], {}, "no model"),
        ([], {"AIP_HTTP_PORT": "80", "AIP_STORAGE_URI": "gs://b/m"}, "gs://b/m: the model must be a local folder"),
        (["m"], {"AIP_HTTP_PORT": "many"}, "AIP_HTTP_PORT='many'"),
        (["m"], {"AIP_HTTP_PORT": "80", "AIP_PREDICT_ROUTE": "p"}, "AIP_PREDICT_ROUTE='p' must start with a slash"),
        (["m", "--capture-rate", "2"], {}, "--capture-rate 2.0 must be between 0 and 1"),
        (["m", "--uds", "/" + "x" * 120], {}, "this one has 121"),
    ],
)
def test_what_cannot_work_is_named(argv: list[str], env: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", "\\(")):
        parse(argv, env)


def test_a_rate_of_nothing_keeps_nothing() -> None:
    assert parse(["m", "--capture", "d", "--capture-rate", "0"], {}).capture is None


def test_importing_the_package_is_light() -> None:
    program = (
        "import sys, mlport.serving, mlport.serving.options; sys.exit(bool({'numpy', 'mlflow', 'msgspec', 'uvloop'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
