"""The way to a workspace: credentials, an HTTP session, raw JSON both ways. One attempt a call.

The SDK signs in, and nothing else of it is used: its client sends POSTs again by itself, and its classes drop what they do
not know (docs/spi/databricks.md, (f) 1 and 2). A token or client secret of the profile needs no SDK at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

from mlport.errors import AuthenticationError, MlportError
from mlport.http_session import failed, session, unreached
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.workspace.errors import HINTS, Json, Refusal, translated

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from mlport_databricks.workspace.files import Files

SECONDS = 60.0  # for an answer, unless the call says otherwise
CONNECT_SECONDS = 10.0
REFRESH_SECONDS = 120.0  # before the end of a token a new one is fetched
TOKEN_PATH = "/oidc/v1/token"  # noqa: S105 - databricks/sdk/core.py, OIDC_TOKEN_PATH
Query = Mapping[str, str | int | bool | Sequence[str] | None]


class Connection:
    """Everything that one session holds open. Safe to use from several threads."""

    def __init__(self, config: DatabricksConfig) -> None:
        self.config = config
        self._lock = Lock()
        self._fetched: tuple[str, float] | None = None  # a service principal's token, and when it ends (s since the epoch)

    # ---------------------------------------------------------------- credentials

    @cached_property
    def _sdk(self) -> Any:
        """The SDK's configuration: who we are, by its unified chain. Its own look at the host is cut short."""
        from mlport_databricks.workspace.sign_in import config_class

        try:
            return config_class()(
                host=self.config.url, profile=self.config.sdk_profile, retry_timeout_seconds=1, http_timeout_seconds=CONNECT_SECONDS
            )
        except ValueError as error:
            raise AuthenticationError(str(error), hint=HINTS[AuthenticationError], provider="databricks") from error

    def _authorization(self) -> Mapping[str, str]:
        """The headers that say who we are, credentials included."""
        if self.config.token:
            return {"Authorization": f"Bearer {self.config.token}"}
        with self._lock:
            if self.config.client_id:
                return {"Authorization": f"Bearer {self._principals_token()[0]}"}
            return self._by_sdk()

    def _by_sdk(self) -> Mapping[str, str]:
        import requests

        try:
            headers: dict[str, str] = self._sdk.authenticate()
        except requests.RequestException as error:
            raise unreached(error, self.config.host, "credentials", "databricks") from error
        except (ValueError, OSError) as error:  # OSError: the SDK's own errors
            raise AuthenticationError(str(error), hint=HINTS[AuthenticationError], provider="databricks") from error
        return headers

    def _principals_token(self) -> tuple[str, float]:
        """The token of the profile's service principal (OAuth client credentials), fetched anew before it ends."""
        if self._fetched is None or self._fetched[1] - time.time() < REFRESH_SECONDS:
            began = time.time()
            response = self._send(
                "POST",
                f"{self.config.url}{TOKEN_PATH}",
                "credentials",
                repeatable=True,
                data={"grant_type": "client_credentials", "scope": "all-apis"},
                auth=(self.config.client_id, self.config.client_secret),
            )
            if response.status_code >= 400:
                raise _refused_sign_in(response)
            answer = response.json()
            self._fetched = answer["access_token"], began + float(answer.get("expires_in", 3600))
        return self._fetched

    def token(self) -> Json:
        """A bearer token that is good for a while, and when it ends where that is known: `token`, `expires_at`."""
        bearer = self._authorization().get("Authorization", "")
        if not bearer.startswith("Bearer "):
            raise AuthenticationError("this way to sign in gives no bearer token", hint=HINTS[AuthenticationError], provider="databricks")
        return {"token": bearer.removeprefix("Bearer "), "expires_at": self._expiry()}

    def _expiry(self) -> datetime | None:
        if self.config.token:
            return None
        if self._fetched is not None:
            return datetime.fromtimestamp(self._fetched[1], UTC)
        with suppress(ValueError):  # what the SDK signs in with has no expiry that it tells
            expiry: datetime | None = self._sdk.oauth_token().expiry
            return expiry.astimezone() if expiry else None  # the SDK keeps it without a zone, in local time
        return None

    # ---------------------------------------------------------------- HTTP

    @cached_property
    def http(self) -> Any:
        """An HTTP session with the profile's proxy and authorities, and no credentials of its own."""
        return session(self.config.proxy, self.config.ca)

    def call(
        self,
        verb: str,
        path: str,
        *,
        operation: str,
        body: Json | None = None,
        query: Query | None = None,
        repeatable: bool = False,
        raw: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = SECONDS,
    ) -> Json:
        """One request to the workspace; its answer as it is. `raw` is a body that is not JSON.

        `repeatable`: made twice, the call does what it does once. A GET always is.

        Raises:
            MlportError: what Databricks answered, in our words.
        """
        response = self.exchange(
            verb,
            path,
            operation=operation,
            content=raw if body is None else json.dumps(body, allow_nan=False).encode(),
            query=query,
            headers={**({} if body is None else {"content-type": "application/json"}), **(headers or {})},
            repeatable=repeatable,
            timeout=timeout,
        )
        self.check(response, verb, path, operation=operation, repeatable=repeatable)
        answer: Json = response.json() if response.content else {}
        return answer

    def check(self, response: Response, verb: str, path: str, *, operation: str, repeatable: bool = False) -> None:
        """Raise what an answer that is no success means."""
        if response.status_code < 300:
            return
        where = response.headers.get("location")
        content = f"the workspace sends this call elsewhere, to {where}".encode() if where else response.content
        status = 403 if where else response.status_code  # a private workspace sends callers from outside to its log-in page
        refusal = Refusal.of_answer(status, content, response.headers)
        import requests

        raise translated(refusal, verb, path, operation, repeatable=repeatable or verb in ("GET", "HEAD")) from requests.HTTPError(
            f"{response.status_code} {response.reason}", response=response
        )

    def exchange(
        self,
        verb: str,
        path: str,
        *,
        operation: str,
        content: bytes | BinaryIO | None = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        stream: bool = False,
        timeout: float = SECONDS,
    ) -> Response:
        """One request with credentials and its answer, whatever its status. Raises where none came.

        With `stream` the caller reads the answer's body and closes it.
        """
        signed = self._authorization()

        def authorize(request: PreparedRequest) -> PreparedRequest:
            request.headers.update(signed)
            return request

        return self._send(
            verb,
            f"{self.config.url}{path}",
            operation,
            repeatable=repeatable or verb in ("GET", "HEAD"),
            data=content,
            params=None if query is None else {name: _text(value) for name, value in query.items() if value is not None},
            headers=dict(headers or {}),
            auth=authorize,
            stream=stream,
            timeout=(CONNECT_SECONDS, timeout),
        )

    def _send(self, verb: str, url: str, operation: str, *, repeatable: bool, **options: Any) -> Response:
        import requests

        options.setdefault("timeout", (CONNECT_SECONDS, SECONDS))
        try:
            response: Response = self.http.request(verb, url, allow_redirects=False, **options)
        except requests.RequestException as error:
            raise failed(error, url.split("/")[2], operation, "databricks", repeatable=repeatable) from error
        return response

    # ---------------------------------------------------------------- what stands on it

    @cached_property
    def files(self) -> Files:
        """Files of volumes and of the workspace."""
        from mlport_databricks.workspace.files import Files

        return Files(self)

    def close(self) -> None:
        """Hang up. What is asked for afterwards opens anew."""
        opened = self.__dict__.pop("http", None)
        if opened is not None:
            opened.close()


def _text(value: str | int | bool | Sequence[str]) -> Any:
    """A query argument as HTTP has it; truth values as Databricks spells them."""
    return str(value).lower() if isinstance(value, bool) else value


def _refused_sign_in(response: Response) -> MlportError:
    refusal = Refusal.of_answer(response.status_code, response.content, response.headers)
    if response.status_code >= 500 or response.status_code == 429:
        return translated(refusal, "POST", TOKEN_PATH, "credentials", repeatable=True)
    return AuthenticationError(
        f"the service principal could not sign in: {refusal.message}",
        hint="check client_id and client_secret in the profile",
        provider="databricks",
        native_code=refusal.code,
        request_id=refusal.request_id,
    )
