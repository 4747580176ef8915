"""Objects in Cloud Storage by their `gs://` addresses: what jobs and models need there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport.errors import NotFoundError
from mlport.transfer import translated

if TYPE_CHECKING:
    from mlport_vertex.google.connection import Connection


def split(uri: str) -> tuple[str, str]:
    """Bucket and name of a `gs://` address.

    >>> split("gs://bucket/a/b")
    ('bucket', 'a/b')
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


class Objects:
    """The objects that a connection's credentials reach. Errors are ours, raised from the original."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, uri: str) -> bytes | None:
        """An object's content, None if there is no such object."""
        import obstore

        bucket, name = split(uri)
        try:
            with _errors(uri):
                return bytes(obstore.get(self._connection.store(bucket), name).bytes())
        except NotFoundError:
            return None

    def head(self, uri: str) -> dict[str, Any] | None:
        """Size, generation (`version`) and time of an object, None if there is no such object."""
        import obstore

        bucket, name = split(uri)
        try:
            with _errors(uri):
                return dict(obstore.head(self._connection.store(bucket), name))
        except NotFoundError:
            return None

    def put(self, uri: str, content: bytes | Path) -> None:
        """Write an object, in place of the one that is there."""
        import obstore

        bucket, name = split(uri)
        with _errors(uri):
            obstore.put(self._connection.store(bucket), name, content)

    def put_once(self, uri: str, content: bytes | Path) -> bool:
        """Write an object unless it is there; whether it was written. For content that its name says (a digest)."""
        import obstore

        bucket, name = split(uri)
        try:
            with _errors(uri):
                obstore.put(self._connection.store(bucket), name, content, mode="create", use_multipart=False)
        except obstore.exceptions.AlreadyExistsError:
            return False
        return True

    def list(self, uri: str) -> Iterator[tuple[str, int]]:
        """Address and size of each object below a folder, in order."""
        import obstore

        bucket, prefix = split(uri)
        with _errors(uri):
            for page in obstore.list(self._connection.store(bucket), prefix.rstrip("/") + "/" if prefix else None):
                yield from ((f"gs://{bucket}/{item['path']}", item["size"]) for item in page)

    def upload(self, source: Path, uri: str) -> None:
        """Copy a file to an object, or a folder's files below an address."""
        from mlport.bundle import tree_files

        if source.is_file():
            self.put(uri, source)
            return
        for relative, file in tree_files(source):
            self.put(f"{uri.rstrip('/')}/{relative}", file)

    def download(self, uri: str, destination: Path) -> int:
        """Copy what is below a folder to `destination`; how many files that were."""
        import obstore

        count = 0
        for address, _ in self.list(uri):
            bucket, name = split(address)
            target = _inside(destination, address.removeprefix(uri.rstrip("/") + "/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            with _errors(address), target.open("wb") as stream:
                for chunk in obstore.get(self._connection.store(bucket), name).stream(min_chunk_size=8 << 20):
                    stream.write(chunk)
            count += 1
        return count

    def copy(self, source: str, destination: str) -> None:
        """Copy an object within its bucket: Cloud Storage does it, nothing passes through here."""
        import obstore

        bucket, name = split(source)
        with _errors(source):
            obstore.copy(self._connection.store(bucket), name, split(destination)[1])

    def delete(self, uri: str) -> None:
        """Remove an object; nothing happens if there is none."""
        import obstore

        bucket, name = split(uri)
        try:
            with _errors(uri):
                obstore.delete(self._connection.store(bucket), name)
        except NotFoundError:
            return

    def delete_below(self, uri: str) -> None:
        """Remove everything below a folder."""
        for address, _ in self.list(uri):
            self.delete(address)


def _inside(folder: Path, relative: str) -> Path:
    target = (folder / relative).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise NotFoundError(f"the object name {relative!r} would be written outside {folder}")
    return target


@contextmanager
def _errors(uri: str) -> Iterator[None]:
    """Errors of the store in our words; that an object exists already is the caller's to understand."""
    import obstore

    try:
        yield
    except obstore.exceptions.AlreadyExistsError:
        raise
    except (obstore.exceptions.BaseError, OSError) as error:
        raise translated(uri, error) from error
