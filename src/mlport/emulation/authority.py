"""A throw-away certificate authority: who trusts its one file reaches the emulators under the vendors' real names."""

from __future__ import annotations

import os
import ssl
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=365)
PROTOCOLS = ["h2", "http/1.1"]


class Authority:
    """Issues a certificate for each host name that is asked for. Its key stays in the folder, readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "ca.pem"
        self._lock = threading.Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        folder.mkdir(parents=True, exist_ok=True)
        self._key, self._root = self._kept(folder / "ca.key") or self._made(folder / "ca.key")

    def _kept(self, key_file: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None:
        """The pair of an earlier run, unless it is about to expire or only half of it was written."""
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            root = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        still_good = root.not_valid_after_utc - datetime.now(UTC) > timedelta(days=30)
        is_pair = isinstance(key, ec.EllipticCurvePrivateKey) and root.public_key() == key.public_key()
        return (key, root) if still_good and is_pair and isinstance(key, ec.EllipticCurvePrivateKey) else None

    def _made(self, key_file: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("mlport emulators (throw-away)")
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        root = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(key_file, _pem(key))
        _write(self.certificate, root.public_bytes(serialization.Encoding.PEM))
        return key, root

    def context(self, host: str) -> ssl.SSLContext:
        """The TLS settings that answer for a host name; made once for each."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._context(host)
            return self._contexts[host]

    def _context(self, host: str) -> ssl.SSLContext:
        leaf = (
            _builder(_name(host[:64]), self._root.subject, self._leaf_key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(PROTOCOLS)
        with tempfile.NamedTemporaryFile() as pair:  # ssl loads from files only
            pair.write(leaf.public_bytes(serialization.Encoding.PEM) + _pem(self._leaf_key))
            pair.flush()
            context.load_cert_chain(pair.name)
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # for clocks that go a little slow
        .not_valid_after(now + LIFETIME)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and for its owner only."""
    unfinished = path.with_name(f".{path.name}.{threading.get_native_id()}")
    unfinished.touch(mode=0o600)
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
