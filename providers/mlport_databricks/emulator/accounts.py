"""Who there is: two workspaces with separate everything, and in each an administrator, a plain user and a service principal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HOST = "emulated.cloud.databricks.com"
OTHER_HOST = "emulated-other.cloud.databricks.com"
HOSTS = (HOST, OTHER_HOST)
ACCOUNT_ID = "42424242-4242-4242-4242-424242424242"
METASTORE_ID = "24242424-2424-2424-2424-242424242424"
CLOUD, REGION = "aws", "us-east-1"
CATALOG, SCHEMAS, VOLUME = "main", ("default", "ml"), "mlport"
SECRET_SCOPE = "mlport"  # noqa: S105 - its name
STATE_BUCKET = "emulated-mlport-state"
UNITY_BUCKET = "emulated-unity-catalog"  # what Unity Catalog manages: model versions and volumes; nobody's own keys open it


@dataclass(frozen=True, slots=True)
class User:
    """A principal. `name` is what grants and records call it: an address, or a service principal's application id."""

    name: str
    id: int
    display: str
    is_admin: bool
    secret: str = ""  # of a service principal


ADMIN = User("admin@emulated.example", 7000000000000001, "Admin", True)
PLAIN = User("plain@emulated.example", 7000000000000002, "Plain", False)
PRINCIPAL = User("0e0e0e0e-0e0e-4e0e-8e0e-0e0e0e0e0e0e", 7000000000000003, "mlport", True, "doseemulatedsecret")
USERS: Mapping[str, User] = {user.name: user for user in (ADMIN, PLAIN, PRINCIPAL)}


def token_of(host: str, user: User = ADMIN) -> str:
    """A personal access token.

    >>> token_of(HOST), token_of(OTHER_HOST, PLAIN)
    ('dapi-emulated-0-7000000000000001', 'dapi-emulated-1-7000000000000002')
    """
    return f"dapi-emulated-{HOSTS.index(host)}-{user.id}"


TOKENS: Mapping[str, tuple[str, User]] = {token_of(host, user): (host, user) for host in HOSTS for user in USERS.values()}
"""Host and user of each personal access token."""


def workspace_id(host: str) -> int:
    """Its number, which Databricks calls an organisation's.

    >>> workspace_id(HOST)
    4242424242424240
    """
    return 4242424242424240 + HOSTS.index(host)
