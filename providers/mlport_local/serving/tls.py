"""TLS at the router: version 1.2 and up, and a certificate that may be renewed while it serves."""

from __future__ import annotations

import ssl
from pathlib import Path


class Certificate:
    """A server's certificate chain and private key, as PEM files.

    Raises:
        OSError: a file cannot be read, or the two do not belong together (`ssl.SSLError` is one).
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self._seen = self._stamp()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_cert_chain(chain, key)

    def renew(self) -> bool:
        """Take up the files if they changed; connections from now on get them. Whether they had. Raises as above."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        Certificate(self._chain, self._key)  # a half-written pair must not spoil the context that serves
        self.context.load_cert_chain(self._chain, self._key)
        self._seen = stamp
        return True

    def _stamp(self) -> tuple[int, int]:
        return self._chain.stat().st_mtime_ns, self._key.stat().st_mtime_ns
