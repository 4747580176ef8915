"""Documents and large files over HTTP, by the standard library alone: a plain installation can refresh its prices.

Every request is a GET and safe to repeat. A source that asks to wait (Retry-After) is waited for; a file that broke off is continued
where it ended, if the server says that it is still the same file.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from mlport.errors import (
    DeadlineError,
    InvalidRequestError,
    MlportError,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
    UnavailableError,
)
from mlport.http_session import agent
from mlport.waiting import retry

SECONDS = 60.0  # without a byte
ATTEMPTS = 6
PATIENCE = 120.0  # seconds; who asks to wait longer is not waited for
CHUNK = 1 << 18  # bytes
FORGOTTEN = 7 * 86400.0  # seconds; an unfinished file that nobody went on with is removed
_RANGE_NOT_SATISFIABLE, _PARTIAL = 416, 206
_THROTTLED = (429, 503)
_BROKEN = (OSError, http.client.HTTPException)  # URLError is an OSError


class Web:
    """GETs with patience. `folder` keeps unfinished files; `progress` is told what goes on."""

    def __init__(
        self, folder: Path, *, progress: Callable[[str], None] = lambda text: None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._folder, self.progress, self._sleep = folder, progress, sleep

    def json(self, url: str, secret: Mapping[str, str] | None = None) -> Any:
        """A document; its numbers with a point are Decimals, digit by digit. `secret` are headers that no other host is sent."""
        text = retry(lambda: self._whole(url, secret or {}), attempts=ATTEMPTS, sleep=self._sleep)
        try:
            return json.loads(text, parse_float=Decimal)
        except ValueError as error:
            raise UnavailableError(f"{_host(url)} answered with something that is no JSON: {error}", operation=url) from error

    @contextmanager
    def file(self, url: str) -> Iterator[Path]:
        """A file that may be large, for as long as the block lasts. What an earlier attempt left is continued, not fetched again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _sweep(self._folder)
        path = self._folder / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.part"
        retry(lambda: self._continued(url, path), attempts=ATTEMPTS, sleep=self._sleep)
        try:
            yield path
        finally:
            _discard(path)

    def _whole(self, url: str, secret: Mapping[str, str]) -> bytes:
        with self._opened(url, {}, secret) as answer:
            return _read(answer, None, url)

    def _continued(self, url: str, path: Path) -> None:
        """Fetch what is missing. Raises a retryable error when it breaks off again; what came stays."""
        tag = _tag_file(path)
        have = path.stat().st_size if path.exists() and tag.exists() else 0
        headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text("utf-8")} if have else {}
        try:
            with self._opened(url, headers) as answer:
                partial = answer.status == _PARTIAL
                _keep_tag(tag, answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
                self._append(answer, path, have if partial else 0, url)
        except _NothingLeft as nothing:
            if nothing.size != have:
                _discard(path)
                raise UnavailableError(f"{_host(url)}: the file changed while it was fetched", operation=url) from nothing

    def _append(self, answer: Any, path: Path, start: int, url: str) -> None:
        expected = int(answer.headers["Content-Length"]) + start if answer.headers.get("Content-Length") else None
        with path.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            got = start + self._copy(answer, stream, start, expected, url)
            stream.truncate()
        if expected is not None and got != expected:
            raise UnavailableError(f"{_host(url)} broke off after {got} of {expected} bytes", operation=url)

    def _copy(self, answer: Any, stream: IO[bytes], start: int, expected: int | None, url: str) -> int:
        got = 0
        while chunk := _read(answer, CHUNK, url):
            stream.write(chunk)
            got += len(chunk)
            self.progress(_progress(start + got, expected))
        return got

    def _opened(self, url: str, headers: dict[str, str], secret: Mapping[str, str] | None = None) -> Any:
        """An answer to be read and closed. A redirection is followed without the secret headers."""
        if urlsplit(url).scheme not in ("https", "http"):
            raise InvalidRequestError(f"{url}: prices are fetched by https", operation=url)
        request = urllib.request.Request(url, headers={"User-Agent": agent(), **headers})  # noqa: S310 - the scheme is looked at above
        for name, value in (secret or {}).items():
            request.add_unredirected_header(name, value)
        try:
            return urllib.request.urlopen(request, timeout=SECONDS)  # noqa: S310
        except urllib.error.HTTPError as error:
            raise self._refusal(error, url) from error
        except _BROKEN as error:
            raise UnavailableError(f"{_host(url)} did not answer: {error}", operation=url) from error

    def _refusal(self, error: urllib.error.HTTPError, url: str) -> Exception:
        """What a status means; waits first where it asks for that."""
        with error:
            if error.code == _RANGE_NOT_SATISFIABLE:
                return _NothingLeft(error.headers.get("Content-Range"))
            return self._meaning(error, url)

    def _meaning(self, error: urllib.error.HTTPError, url: str) -> MlportError:
        words = f"{_host(url)} answered {error.code} {error.reason}"
        about = {"operation": url, "native_code": str(error.code)}
        if error.code in _THROTTLED or error.code >= 500:
            wait = _asked_to_wait(error.headers.get("Retry-After"))
            if wait > PATIENCE:
                return DeadlineError(f"{words} and asks to wait {wait:.0f} s, longer than is waited", hint="refresh again later", **about)
            if wait:
                self.progress(f"waiting {wait:.0f} s, as {_host(url)} asks")
                self._sleep(wait)
            return (ThrottledError if error.code in _THROTTLED else UnavailableError)(words, **about)
        kinds: dict[int, type[MlportError]] = {401: PermissionDeniedError, 403: PermissionDeniedError, 404: NotFoundError}
        return kinds.get(error.code, InvalidRequestError)(f"{words}: {url}", **about)


class _NothingLeft(Exception):  # noqa: N818 - no error: the file may be whole
    """The server has no byte after those that are here; `size` is what it says that the file has."""

    def __init__(self, content_range: str | None) -> None:
        super().__init__(content_range)
        size = (content_range or "").rpartition("/")[2]
        self.size = int(size) if size.isdecimal() else None


def _progress(got: int, expected: int | None) -> str:
    """How far a download is, in steps: each is a line where nothing can be overwritten."""
    return f"{got * 20 // expected * 5} % of {expected >> 20} MiB" if expected else f"{got >> 24 << 4} MiB"


def _read(answer: Any, size: int | None, url: str) -> bytes:
    try:
        part: bytes = answer.read() if size is None else answer.read(size)
    except _BROKEN as error:
        raise UnavailableError(f"{_host(url)} broke off: {error}", operation=url) from error
    return part


def _asked_to_wait(text: str | None) -> float:
    """Seconds of a Retry-After header, which is seconds or a date (RFC 9110, 10.2.3); 0 where it says nothing that can be read."""
    if not text:
        return 0.0
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _keep_tag(path: Path, tag: str | None) -> None:
    """By what the server knows the file; without it, or with a weak one, nothing can be continued (RFC 9110, 13.1.5)."""
    if tag and not tag.startswith("W/"):
        path.write_text(tag, encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what was left by downloads of versions that are no longer asked for."""
    for path in folder.glob("*.part"):
        if time.time() - path.stat().st_mtime > FORGOTTEN:
            _discard(path)


def _tag_file(path: Path) -> Path:
    return path.with_suffix(".tag")


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)
    _tag_file(path).unlink(missing_ok=True)


def _host(url: str) -> str:
    return urlsplit(url).netloc
