"""The way to Google: credentials, an HTTP session, a gRPC channel and object stores, each made when first asked for.

Proxy and authorities are the profile's and are given to each of the four; the environment of this process is left alone.
Nothing of Google's retries here: who may try again is the core's to say.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, timedelta
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from mlport.errors import AuthenticationError, ConfigError, MlportError
from mlport.http_session import agent, failed, session, unreached
from mlport_vertex.config import VertexConfig
from mlport_vertex.google.errors import HINTS, Json, Refusal, translated

if TYPE_CHECKING:
    from obstore.store import GCSStore
    from requests import Response

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
SECONDS = 60.0  # for an answer, unless the call says otherwise
CONNECT_SECONDS = 10.0
REFRESH_MARGIN = timedelta(minutes=4)  # google-auth refreshes that long before the end
OBJECT_RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}


class Connection:
    """Everything that one session holds open. Safe to use from several threads."""

    def __init__(self, config: VertexConfig) -> None:
        self.config = config
        self._lock = Lock()
        self._stores: dict[str, GCSStore] = {}

    # ---------------------------------------------------------------- credentials

    @cached_property
    def _plain(self) -> Any:
        """An HTTP session without credentials, for those who fetch them."""
        return session(self.config.proxy, self.config.ca)

    @cached_property
    def _refresher(self) -> Any:
        from google.auth.transport.requests import Request

        return Request(self._plain)

    @cached_property
    def credentials(self) -> Any:
        """Those of the profile, or Application Default Credentials.

        A service account's key signs its own tokens (https://google.aip.dev/auth/4111): no request is needed for one.
        """
        import google.auth
        from google.auth.exceptions import GoogleAuthError

        try:
            if self.config.credentials:
                found = _of_file(self.config.credentials)
            else:
                found, _ = google.auth.default(scopes=SCOPES, request=self._refresher)
        except (GoogleAuthError, ValueError) as error:
            raise AuthenticationError(str(error), hint=HINTS[AuthenticationError], provider="vertex") from error
        return found.with_always_use_jwt_access(True) if hasattr(found, "with_always_use_jwt_access") else found

    def token(self) -> Json:
        """A bearer token that is good for a while, and when it ends: `token`, `expires_at`."""
        from google.auth.exceptions import GoogleAuthError

        with self._lock:
            try:
                expiry = self.credentials.expiry
                left = expiry.replace(tzinfo=UTC).timestamp() - time.time() if expiry else 0.0
                if not self.credentials.token or left < REFRESH_MARGIN.total_seconds():
                    if hasattr(self.credentials, "_create_self_signed_jwt"):  # as google-auth's own session does before it asks
                        self.credentials._create_self_signed_jwt(None)
                    self.credentials.refresh(self._refresher)
            except GoogleAuthError as error:
                raise _not_authenticated(error) from error
            expiry = self.credentials.expiry
            return {"token": self.credentials.token, "expires_at": expiry.replace(tzinfo=UTC) if expiry else None}

    # ---------------------------------------------------------------- HTTP

    @cached_property
    def http(self) -> Any:
        """An HTTP session that sends the credentials with each request."""
        from google.auth.transport.requests import AuthorizedSession

        signed = AuthorizedSession(self.credentials, auth_request=self._refresher)
        signed.trust_env, signed.proxies, signed.verify = self._plain.trust_env, self._plain.proxies, self._plain.verify
        signed.headers["user-agent"] = agent()
        return signed

    def send(
        self,
        verb: str,
        url: str,
        *,
        operation: str,
        body: Json | None = None,
        query: Mapping[str, str | Sequence[str]] | None = None,
        repeatable: bool = False,
        timeout: float = SECONDS,
    ) -> Json:
        """Call one of Google's JSON APIs; its answer. `repeatable`: made twice, the call does what it does once."""
        response = self.exchange(
            verb,
            url,
            operation=operation,
            content=None if body is None else json.dumps(body, allow_nan=False).encode(),
            query=query,
            repeatable=repeatable,
            timeout=timeout,
        )
        if response.status_code >= 400:
            import requests

            try:
                response.raise_for_status()
            except requests.HTTPError as error:
                raise translated(Refusal.of_answer(response.status_code, response.content), operation, repeatable=repeatable) from error
        answer: Json = response.json() if response.content else {}
        return answer

    def exchange(
        self,
        verb: str,
        url: str,
        *,
        operation: str,
        content: bytes | None = None,
        query: Mapping[str, str | Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        timeout: float = SECONDS,
    ) -> Response:
        """One request with credentials and its answer, whatever its status. Raises where none came."""
        import requests
        from google.auth.exceptions import GoogleAuthError

        try:
            response: Response = self.http.request(
                verb,
                url,
                data=content,
                params=query,
                headers={**({"content-type": "application/json"} if content is not None else {}), **(headers or {})},
                timeout=(CONNECT_SECONDS, timeout),
                allow_redirects=False,
            )
        except GoogleAuthError as error:
            raise _not_authenticated(error) from error
        except requests.RequestException as error:
            raise failed(error, url.split("/")[2], operation, "vertex", repeatable=repeatable) from error
        return response

    # ---------------------------------------------------------------- gRPC and objects

    @cached_property
    def channel(self) -> Any:
        """A gRPC channel to the region's host."""
        import grpc
        from google.auth.transport.grpc import AuthMetadataPlugin

        roots = self.config.ca.read_bytes() if self.config.ca else None
        calls = grpc.metadata_call_credentials(AuthMetadataPlugin(self.credentials, self._refresher))
        options: list[tuple[str, Any]] = [
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        if self.config.proxy:
            options.append(("grpc.http_proxy", self.config.proxy))
        both = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(root_certificates=roots), calls)
        return grpc.secure_channel(f"{self.config.host}:443", both, options=[*options, ("grpc.primary_user_agent", agent())])

    def store(self, bucket: str) -> GCSStore:
        """The object store that a bucket is."""
        with self._lock:
            if bucket not in self._stores:
                self._stores[bucket] = self._new_store(bucket)
            return self._stores[bucket]

    def _new_store(self, bucket: str) -> GCSStore:
        from obstore.store import GCSStore

        client: Json = {"timeout": timedelta(hours=1), "read_timeout": timedelta(seconds=SECONDS), "user_agent": agent()}
        if self.config.proxy:
            client["proxy_url"] = self.config.proxy
        if self.config.ca:
            client["root_certificate"] = self.config.ca.read_bytes()
        return GCSStore(bucket, credential_provider=self.token, client_options=client, retry_config=OBJECT_RETRIES)

    def close(self) -> None:
        """Hang up."""
        for name in ("http", "_plain", "channel"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                with suppress(ValueError):  # a channel that is closed already
                    opened.close()
        self._stores.clear()


def _of_file(path: Path) -> Any:
    """The credentials in a file that Google wrote: of a service account, or of a user who logged in.

    Other kinds may name programs to run and addresses to call; those are taken from `GOOGLE_APPLICATION_CREDENTIALS` only.
    """
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("type")
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"credentials: {path} cannot be read as a credentials file: {error}") from error
    if kind == "service_account":
        from google.oauth2 import service_account

        return service_account.Credentials.from_service_account_file(str(path), scopes=SCOPES)
    if kind == "authorized_user":
        from google.oauth2.credentials import Credentials

        return Credentials.from_authorized_user_file(str(path), scopes=SCOPES)
    raise ConfigError(
        f"credentials: {path} is of type {kind!r}, not service_account or authorized_user",
        hint="for any other kind leave credentials out and set GOOGLE_APPLICATION_CREDENTIALS",
    )


def _not_authenticated(error: Exception) -> MlportError:
    if getattr(error, "retryable", False):
        return unreached(error, "the token service", "credentials", "vertex")
    return AuthenticationError(str(error), hint=HINTS[AuthenticationError], provider="vertex")
