"""Keeping secrets out of what is shown: passwords in addresses, and variables whose names say that they are secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

HIDDEN = "***"
_PASSWORD = re.compile(r"(://[^/@\s:]*:)[^/@\s]+@")
_SECRET = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|(api|access|private|signing|encryption)_?key|_(pwd|pat)$", re.IGNORECASE
)


def masked(text: str) -> str:
    """The text without the passwords of addresses in it.

    >>> masked("https://ann:s3cret@mlflow.example/path"), masked("s3://bucket/a@b")
    ('https://ann:***@mlflow.example/path', 's3://bucket/a@b')
    """
    return _PASSWORD.sub(rf"\1{HIDDEN}@", text)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like a secret: by its name, or as an address with a password.

    >>> is_secret("AWS_SECRET_ACCESS_KEY", "x"), is_secret("DB", "postgresql://u:p@h/d"), is_secret("EPOCHS", "3")
    (True, True, False)
    """
    return bool(value) and (bool(_SECRET.search(name)) or masked(value) != value)


def warnings(where: str, env: Mapping[str, str], instead: str) -> Iterator[str]:
    """What to say of the variables of a spec that look like secrets. `where` is the field, `instead` what to do."""
    for name, value in env.items():
        if is_secret(name, value):
            yield f"{where}: {name} looks like a secret, and plans and state show it; {instead}"
