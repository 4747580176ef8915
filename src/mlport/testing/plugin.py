"""The pytest plug-in: `--profile`, the target of each account, and refusals in the place of what cannot be tested.

It loads nothing of mlport until the suite is collected, for it is loaded by every pytest run where mlport is installed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from mlport.testing.beside import Beside
    from mlport.testing.targets import Targets

FOLDER = "PYTEST_MLPORT_FOLDER"
EMULATOR = "emulator"


class Hooks:
    """What a conftest or another plug-in may decide for the suite."""

    @pytest.hookspec(firstresult=True)
    def pytest_mlport_testing_config(self, profile: str, account: int, folder: Path) -> str | None:
        """The target (a profile's name or a URL) of one account, None where there is no such account.

        Args:
            profile: What `--profile` says.
            account: 0 for the one under test, 1 for a second one that must see nothing of the first.
            folder: A folder of this test run, shared by its workers.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mlport", "mlport's conformance suite")
    group.addoption("--profile", default="local", help="what the suite tests: a profile, a target URL, or an installed provider's name")
    group.addoption("--other-profile", default=None, help="a second account of the same provider, which must see nothing of the first")
    group.addoption("--job-seconds", type=float, default=120.0, help="how long a job or a deployment may take")
    group.addoption(
        "--job-requirements", default="", help="what jobs must install to train a model, comma-separated: mlflow,scikit-learn,pandas"
    )


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)


def pytest_configure(config: pytest.Config) -> None:
    if not is_worker(config):
        chosen = Path(config.getoption("basetemp") or Path(tempfile.gettempdir(), "pytest")).absolute()
        os.environ[FOLDER] = str(chosen.with_name(f"{chosen.name}-mlport-suite-{os.urandom(6).hex()}"))  # pytest empties --basetemp itself
    config.addinivalue_line(
        "markers", "needs(*capabilities): what a conformance test relies on; its refusal is tested where that is absent"
    )
    config.addinivalue_line("markers", "late: looks at what takes its time to be there, so it runs when the other tests are done")
    config.addinivalue_line(
        "markers", "beside: waits for a vendor's clock, so it begins with the session and is told when the others are done"
    )


def is_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests for another, which collects what they say."""
    return hasattr(config, "workerinput")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove what the workers of a run shared, once all have ended; their folder tells whether they ran the suite."""
    if not is_worker(session.config) and Path(os.environ[FOLDER]).exists():
        from mlport.emulation.background import stop

        try:
            targets(session.config).remove_shared()
        finally:
            stop(Path(os.environ[FOLDER]) / EMULATOR)
        if session.exitstatus == pytest.ExitCode.OK:
            targets(session.config).remove_folder()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Replace each test of something absent by the test that it is refused, and put those that are late at the end."""
    if any(item.get_closest_marker("needs") for item in items):
        from mlport.testing.refusals import with_refusals

        items[:] = sorted(with_refusals(targets(config), items), key=lambda item: any(map(item.get_closest_marker, ("late", "beside"))))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test that was begun with the session is told how it ended, and not run again."""
    is_marked = pyfuncitem.get_closest_marker("beside") is not None
    beside = cast("Beside | None", pyfuncitem.funcargs.get("beside") if is_marked else None)
    if beside is None or not beside.has(pyfuncitem.name):
        return None
    beside.tell(pyfuncitem.name)
    return True


def targets(config: pytest.Config) -> Targets:
    """The accounts of this run, made once a process."""
    from mlport.testing.targets import Targets

    found = config.stash.get(_TARGETS, None)
    if found is None:
        found = config.stash[_TARGETS] = Targets(config)
    return found


_TARGETS: pytest.StashKey[Targets] = pytest.StashKey()


@pytest.hookimpl(trylast=True)
def pytest_mlport_testing_config(profile: str, account: int, folder: Path) -> str | None:
    """A provider's bare name gets a root under `folder` for each account; a URL of a path gets a sibling as second account.

    `NAME-emulated`, `NAME-emulated?field=value` start that emulator for this run, with two accounts.
    """
    from mlport import registry
    from mlport.emulation import emulator_of, with_query

    emulator, query = emulator_of(profile)
    if emulator:
        from mlport.emulation.background import ensure

        ready = ensure(emulator, folder / EMULATOR)
        return with_query(str(ready["connect" if account == 0 else "connect_other"]), query)
    if profile in registry.names():
        return f"{profile}://{folder}/account-{account}"
    if account == 0:
        return profile
    url = urlsplit(profile)
    if not url.scheme or url.netloc or url.path in ("", "/"):
        return None
    return f"{url.scheme}://{url.path.rstrip('/')}-other{f'?{url.query}' if url.query else ''}"
