"""Copy between this machine and object stores: `python -m mlport.transfer SOURCE DESTINATION`.

Either side is a path or a URL that obstore knows (s3, gs, az, abfss, http, https, file). Credentials and endpoints
come from the environment, as each vendor names them (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...). A destination
appears whole or not at all when it is a file; a folder is copied file by file. Exit status 3: the source is not there.
With `--expect etag:DIGEST` or `generation:DIGEST` first, the object fetched must be that version; exit status 4: it is not.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport.errors import (
    AuthenticationError,
    ConflictError,
    InputChangedError,
    MlportError,
    NotFoundError,
    PermissionDeniedError,
    SpecError,
    UnavailableError,
)
from mlport.spi import InputFact

if TYPE_CHECKING:
    from obstore.store import ObjectStore


def is_url(text: str) -> bool:
    """Whether `text` names an object store or web address rather than a path; `file://` is a path."""
    return "://" in text and not text.startswith("file://")


def local_path(text: str) -> Path:
    """The path that a path or a `file://` URL names."""
    from urllib.parse import unquote, urlsplit

    return Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(text)


def absolute(text: str) -> str:
    """A URL as it is, a path as an absolute one."""
    return text if is_url(text) else str(local_path(text).expanduser().absolute())


RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}


def open_store(url: str) -> ObjectStore:
    """A store whose root is `url`. Plain http is allowed only to loopback, for servers run by oneself."""
    from obstore.store import from_url

    options: dict[str, Any] = {"retry_config": RETRIES}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "") if url.startswith("s3") else url
    if endpoint.startswith(("http://127.", "http://localhost", "http://[::1]")):
        options["client_options"] = {"allow_http": True}
    try:
        return from_url(url, **options)
    except Exception as error:  # obstore raises its own and ValueError for what it cannot parse
        raise SpecError(f"{url}: not a URL that can be read or written ({error})") from error


def split_url(url: str) -> tuple[str, str]:
    """The URL of the parent folder, and the last name.

    >>> split_url("s3://bucket/a/b.parquet")
    ('s3://bucket/a', 'b.parquet')
    """
    parent, _, name = url.rstrip("/").rpartition("/")
    return parent, name


def translated(url: str, error: Exception) -> MlportError:
    """Our error for one of obstore's, by its type."""
    from obstore import exceptions

    table: list[tuple[type[BaseException], type[MlportError]]] = [
        (exceptions.NotFoundError, NotFoundError),
        (FileNotFoundError, NotFoundError),
        (exceptions.PermissionDeniedError, PermissionDeniedError),
        (exceptions.UnauthenticatedError, AuthenticationError),
    ]
    kind = next((ours for theirs, ours in table if isinstance(error, theirs)), UnavailableError)
    said = str(error).partition("\n\nDebug source")[0]
    return kind(f"{url}: {said}", provider="object store", native_code=type(error).__name__)


def identify(url: str) -> InputFact:
    """What an object is now: its size and its version, generation or etag. A prefix is `unversioned`.

    Raises:
        NotFoundError: when neither an object nor anything below it is there.
    """
    import obstore

    parent, name = split_url(url)
    try:
        found = obstore.head(open_store(parent), name)
    except (obstore.exceptions.BaseError, OSError) as error:
        members = _below_instead(url, error)
        return InputFact(url, "unversioned", "", sum(size for _, size in members))
    version, etag = found.get("version"), found.get("e_tag")
    if version:
        return InputFact(url, "generation", str(version), found["size"])
    return InputFact(url, "etag", str(etag).strip('"'), found["size"]) if etag else InputFact(url, "unversioned", "", found["size"])


def _below_instead(url: str, error: Exception) -> list[tuple[str, int]]:
    """Path and size of each object below a URL at which there is none itself. Raises what `error` is if nothing is below."""
    import obstore

    known = translated(url, error)
    if not isinstance(known, NotFoundError):
        raise known from error
    try:
        found = [(item["path"], item["size"]) for page in obstore.list(open_store(url)) for item in page]
    except obstore.exceptions.GenericError as refused:  # a bucket that does not exist is no type of its own
        raise known from refused
    except obstore.exceptions.BaseError as refused:
        raise translated(url, refused) from refused
    if not found:
        raise known from error
    return found


def download(url: str, destination: Path, expect: str | None = None) -> None:
    """Copy an object, or everything below a prefix, to `destination`.

    Raises:
        InputChangedError: the object is not the version that `expect` names, such as `etag:5d41...`.
    """
    import obstore

    parent, name = split_url(url)
    try:
        found = obstore.get(open_store(parent), name)
        _refuse_other(url, found.meta, expect)
        _save(found, destination)
    except (obstore.exceptions.BaseError, OSError) as error:
        store = open_store(url)
        for path, _ in _below_instead(url, error):
            target = _below(destination, path)
            try:
                _save(obstore.get(store, path), target)
            except (obstore.exceptions.BaseError, OSError) as failed:
                raise translated(url, failed) from failed


def _refuse_other(url: str, meta: Any, expect: str | None) -> None:
    """Compare the version of the very object that is being fetched, so that it cannot change in between."""
    versions = {f"generation:{meta.get('version')}", "etag:" + str(meta.get("e_tag")).strip('"')}
    if expect is not None and expect not in versions:
        raise InputChangedError(f"{url} is not {expect} any more, but {' or '.join(sorted(versions))}")


def _below(folder: Path, relative: str) -> Path:
    target = (folder / relative).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise SpecError(f"the object name {relative!r} would be written outside {folder}")
    return target


def _save(found: Any, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{threading.get_native_id()}.part")  # several may fetch it at once
    try:
        with part.open("wb") as stream:
            for chunk in found.stream(min_chunk_size=8 << 20):
                stream.write(chunk)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def deliver(destination: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder in one step: `fill` writes it elsewhere, and it has its name only when it is whole.

    Raises:
        ConflictError: `destination` exists.
    """
    if destination.exists():
        raise ConflictError(f"{destination} exists already", hint="name a folder that does not exist yet")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=destination.parent) as scratch:
        folder = Path(scratch, "folder")
        fill(folder)
        folder.rename(destination)
    return destination


def upload(source: Path, url: str) -> None:
    """Copy a file to an object, or a folder's files below a prefix."""
    import obstore

    from mlport.bundle import tree_files

    try:
        if source.is_file():
            parent, name = split_url(url)
            obstore.put(open_store(parent), name, source)
            return
        store = open_store(url)
        for relative, file in tree_files(source):
            obstore.put(store, relative, file)
    except (obstore.exceptions.BaseError, OSError) as error:
        raise translated(url, error) from error


def copy(source: str, destination: str, expect: str | None = None) -> None:
    """Copy whichever way round: one of the two is a URL. `expect` is the version that a source URL must have."""
    if is_url(source) and not is_url(destination):
        download(source, local_path(destination), expect)
    elif is_url(destination) and not is_url(source):
        upload(local_path(source), destination)
    else:
        raise SpecError(f"one of {source} and {destination} must be a URL and the other a path")


def main(arguments: list[str]) -> int:
    options = arguments[:2] if arguments[:1] == ["--expect"] else []
    words = arguments[len(options) :]
    if len(words) != 2:
        print("usage: python -m mlport.transfer [--expect KIND:DIGEST] SOURCE DESTINATION", file=sys.stderr)
        return 2
    try:
        copy(*words, *options[1:])
    except MlportError as error:
        print(f"error: {error}", file=sys.stderr)
        statuses: dict[type[MlportError], int] = {NotFoundError: 3, InputChangedError: 4}
        return statuses.get(type(error), error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
