"""Telling people: to the log, to a webhook, to what speaks like Slack's incoming webhooks, by e-mail. Once or more often, never less.

What an answer was lost of is sent again with the same id (`Idempotency-Key`, `Message-ID`), by which a receiver tells doubles. `${NAME}`
is filled in only here; neither an error nor a log shows what came in for it.

Sources: Slack's limits (a header 150 characters, a section's text 3,000) and escapes (&, <, >) from the reference of Block Kit and from
"Formatting text for app surfaces"; Idempotency-Key from draft-ietf-httpapi-idempotency-key-header; Auto-Submitted from RFC 3834.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from mlport.config import expand
from mlport.errors import (
    AuthenticationError,
    ConfigError,
    InvalidRequestError,
    MlportError,
    PermissionDeniedError,
    ThrottledError,
    UnavailableError,
)
from mlport.http_session import agent
from mlport.masking import HIDDEN, masked
from mlport.monitoring.specs import Alert, Event
from mlport.monitoring.telling.messages import Message, message
from mlport.waiting import retry

__all__ = ["Message", "addressee", "message", "send"]

LOG = logging.getLogger("mlport.monitor")
LEVELS: Mapping[Event, int] = {
    "drift": logging.WARNING,
    "decay": logging.WARNING,
    "unknown": logging.WARNING,
    "failed": logging.ERROR,
    "recovered": logging.INFO,
    "retraining": logging.INFO,
}
SECONDS = 15.0  # without a byte
ATTEMPTS = 4
PATIENCE = 30.0  # seconds; who asks to wait longer is waited for so long
WORDS = 300  # letters of a receiver's answer that an error repeats
HEADER, SECTION = 150, 3000  # Slack's limits, in characters
SHORT, LONG = 4, 8  # letters; what is shorter, whole or a part, cannot be hidden without hiding other words
SEPARATORS = re.compile(r"[\s/?&=#]+")
TRUST = "SSL_CERT_FILE names the authorities that are trusted"
Sleep = Callable[[float], None]


def send(alert: Alert, said: Message, *, sleep: Sleep = time.sleep) -> None:
    """Tell whom `alert` names, and return once they have it; some attempts are made.

    Raises:
        ConfigError: an address cannot be used as it is, or a `${NAME}` in it is not set.
        AuthenticationError, PermissionDeniedError, InvalidRequestError: the receiver does not take it; sent again it would not either.
        ThrottledError, UnavailableError: nobody took it, however often it was tried.
    """
    match alert.to:
        case "log":
            LOG.log(LEVELS[said.event], "%s\n%s", said.title, said.text)
        case "webhook":
            _post(alert, said, said.document, sleep)
        case "slack":
            _post(alert, said, slack(said), sleep)
        case "email":
            from mlport.monitoring.telling.mailing import mail

            mail(alert, said, sleep)


def addressee(alert: Alert) -> str:
    """Whom it tells, in words that may be shown: of an address that is written out, its host alone.

    >>> addressee(Alert(to="slack", url="${SLACK}")), addressee(Alert(to="webhook", url="https://hooks.example/secret?key=1"))
    ('slack ${SLACK}', 'webhook https://hooks.example')
    """
    if alert.to == "email":
        return f"email {', '.join(alert.addresses)}"
    return alert.to if alert.url is None else f"{alert.to} {_shown(alert.url)}"


def _shown(url: str) -> str:
    """An address without what may be secret: its path is, for many webhooks."""
    if url.startswith("${") and url.endswith("}"):
        return url
    if not _is_address(url):
        return HIDDEN
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def slack(said: Message) -> dict[str, Any]:
    """The text for a notification, and blocks for the channel, within Slack's limits."""
    title, text = (_escaped(part) for part in (said.title, said.text))
    return {
        "text": f"{title}\n{_cut(text, SECTION)}",
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": _cut(said.title, HEADER), "emoji": False}},
            {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, SECTION), "verbatim": True}},
            {"type": "context", "elements": [{"type": "plain_text", "text": f"{said.event} · {said.id}", "emoji": False}]},
        ],
    }


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    """At most so many characters, and no half of an escape at the end."""
    if len(text) <= most:
        return text
    kept = text[: most - 1]
    start = kept.rfind("&", len(kept) - 5)
    return f"{kept[:start] if start >= 0 and ';' not in kept[start:] else kept}…"


# ---------------------------------------------------------------- filling in


@dataclass(frozen=True)
class Filled:
    """Texts with their `${NAME}` filled in, and how to keep what came in out of any other text."""

    where: str
    secrets: list[str]

    def __call__(self, text: str) -> str:
        found: str = expand(text, self.where)
        if found != text:
            self.secrets.append(found)
        return found

    def hide(self, text: str) -> str:
        """The text without anything that was filled in, or a longer part of it, such as the key in an address."""
        parts = {part for each in self.secrets for part in SEPARATORS.split(each) if len(part) >= LONG}
        for secret in sorted(parts.union(self.secrets), key=len, reverse=True):
            text = text.replace(secret, HIDDEN) if len(secret) >= SHORT else text
        return masked(text)


@contextmanager
def patient(sleep: Sleep) -> Iterator[tuple[Sleep, Callable[[str | None], None]]]:
    """A pause that is at least as long as the receiver asked for, and where to tell what it asked for (Retry-After)."""
    asked = 0.0

    def note(text: str | None) -> None:
        nonlocal asked
        asked = min(_seconds(text), PATIENCE)

    yield lambda seconds: sleep(max(seconds, asked)), note


def _seconds(text: str | None) -> float:
    """Of a Retry-After header, which is seconds or a date (RFC 9110, 10.2.3); 0 where it says nothing that can be read."""
    if not text:
        return 0.0
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def untrusted(error: BaseException) -> bool:
    """Whether the other side's certificate is not trusted; asking again does not help."""
    return isinstance(error, ssl.SSLCertVerificationError) or isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)


# ---------------------------------------------------------------- HTTP


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow nothing: what is sent may hold secrets, and is for the host that was named."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(alert: Alert, said: Message, body: Mapping[str, Any], sleep: Sleep) -> None:
    where = f"the alert to {addressee(alert)}"
    fill = Filled(where, [])
    url = fill(alert.url or "")
    if not _is_address(url):
        raise ConfigError(f"{where}: url is no address of http or https", hint="such as https://hooks.example/path")
    fill.secrets.append(url)
    own = {"User-Agent": agent(), "Content-Type": "application/json; charset=utf-8", "Idempotency-Key": said.id}
    headers = {**own, **{name: fill(value) for name, value in alert.headers.items()}}
    fill.secrets.extend(alert.headers.values())
    with patient(sleep) as (pause, note):
        retry(lambda: _once(where, url, json.dumps(body, allow_nan=False).encode(), headers, fill, note), attempts=ATTEMPTS, sleep=pause)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not close
        return False


def _once(where: str, url: str, body: bytes, headers: Mapping[str, str], fill: Filled, note: Callable[[str | None], None]) -> None:
    note(None)
    try:
        request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310 - the scheme is looked at above
        with urllib.request.build_opener(_Stay).open(request, timeout=SECONDS):
            return
    except urllib.error.HTTPError as error:
        with error:
            note(error.headers.get("Retry-After"))
            raise _refusal(where, error, fill) from None
    except (OSError, http.client.HTTPException, ValueError, UnicodeError) as error:
        raise _unsent(where, error, fill) from None  # what it came from may hold the address


def _unsent(where: str, error: Exception, fill: Filled) -> MlportError:
    if untrusted(error):
        return ConfigError(f"{where}: the receiver's certificate is not trusted", hint=TRUST)
    if isinstance(error, ValueError | http.client.InvalidURL) and not isinstance(error, OSError):
        return ConfigError(
            f"{where}: url or headers hold what HTTP does not allow", hint="letters of ASCII, no spaces or line breaks in url"
        )
    return UnavailableError(
        f"{where}: nobody answered: {fill.hide(str(getattr(error, 'reason', error)))}", hint="check url and the network"
    )


def _refusal(where: str, error: urllib.error.HTTPError, fill: Filled) -> MlportError:
    """What a status means, with the receiver's own words, which with Slack are codes such as `no_service`."""
    try:
        words = fill.hide(" ".join(error.read(WORDS * 4).decode(errors="replace").split()))[:WORDS]
    except (OSError, http.client.HTTPException):
        words = ""
    told = f"{where}: answered {error.code}{f': {words}' if words else ''}"
    code = str(error.code)
    if error.code == 429:
        return ThrottledError(told, hint="fewer alerts: `persistence`, or `on` in the alert", native_code=code)
    if error.code >= 500 or error.code == 408:
        return UnavailableError(told, hint="look at the receiver", native_code=code)
    if 300 <= error.code < 400:
        return InvalidRequestError(f"{told}; redirects are not followed", hint="give the final address as url", native_code=code)
    kinds: dict[int, tuple[type[MlportError], str]] = {
        401: (AuthenticationError, "check the credentials in url or headers"),
        403: (PermissionDeniedError, "the address may have been revoked; make a new one"),
        404: (InvalidRequestError, "the address is unknown there, or was removed; make a new one"),
        410: (InvalidRequestError, "the address was removed there; make a new one"),
    }
    kind, hint = kinds.get(error.code, (InvalidRequestError, "look at what the receiver takes"))
    return kind(told, hint=hint, native_code=code)
