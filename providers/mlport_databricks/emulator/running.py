"""The emulator put together: the workspaces' APIs, and the object store behind them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mlport.emulation.calls import Call, Reply
from mlport.emulation.faults import Faults
from mlport.emulation.spi import Access
from mlport_databricks.emulator.accounts import (
    CATALOG,
    CLOUD,
    HOSTS,
    REGION,
    SCHEMAS,
    SECRET_SCOPE,
    STATE_BUCKET,
    VOLUME,
    token_of,
    workspace_id,
)
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol import access, mlflow_messages
from mlport_databricks.emulator.protocol.api import Api, Route
from mlport_databricks.emulator.protocol.errors import ApiError, failure
from mlport_databricks.emulator.services import handlers, mlflow_models

STORE = re.compile(r"(.+\.)?s3([.-][a-z0-9-]+)?\.amazonaws\.com")


class DatabricksRunning:
    """A running emulator."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self.place = Place(folder, faults)
        self.api = Api(handlers(self.place), {mlflow_messages.PATHS: self._of_mlflow})

    def _of_mlflow(self) -> Iterable[Route]:
        """What MLflow's protos describe, read when it is first asked for."""
        return mlflow_messages.routes(mlflow_models.handlers(self.place))

    def answers_for(self, host: str) -> bool:
        return host in HOSTS or bool(STORE.fullmatch(host))

    def answer(self, call: Call) -> Reply:
        if STORE.fullmatch(call.host):
            return self.place.s3.answer(call)
        if (page := access.page(call)) is not None:
            return page
        try:
            workspace, user = access.caller(call, self.place.tokens.holder)
        except ApiError as error:
            return error.reply()
        reply = self.api.answer(call, workspace, user.name)
        return Reply(
            reply.status, reply.body, {"x-databricks-org-id": str(workspace_id(workspace)), **reply.headers}, reply.start, reply.end
        )

    def failure(self, call: Call, status: int) -> Reply:
        return self.place.s3.failure(call, status) if STORE.fullmatch(call.host) else failure(status)

    def grpc_handlers(self, answer: Callable[[Call], Reply]) -> Sequence[Any]:
        return ()

    def environment(self, folder: Path) -> Mapping[str, str]:
        return {"DATABRICKS_HOST": f"https://{HOSTS[0]}", "DATABRICKS_TOKEN": token_of(HOSTS[0])}

    def target(self, access: Access, account: int = 0) -> str:
        host = HOSTS[account]
        key, secret = self.place.keys_of(host)
        fields = {
            "volume": VOLUME,
            "state": f"s3://{STATE_BUCKET}/{('mlport', 'mlport-other')[account]}",
            "cloud": CLOUD,
            "tier": "premium",
            "region": REGION,
            "warehouse_id": self.place.warehouse_of(host),
            "secret_scope": SECRET_SCOPE,
            "capture_lag": "3s",  # inference_tables.LAG, and as much again for the move
            "proxy": access.proxy,
            "ca": str(access.ca),
            "token": token_of(host),
            "state_access_key": key,
            "state_secret_key": secret,
        }
        return f"databricks://{host}/{CATALOG}/{SCHEMAS[-1]}?{urlencode(fields)}"

    def started(self, url: str, environment: Mapping[str, str]) -> None:
        self.place.url, self.place.environment = url, environment
        self.place.start()

    def end_work(self) -> None:
        self.place.end_work()

    def close(self) -> None:
        self.place.close()
