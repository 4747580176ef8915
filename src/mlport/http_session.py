"""What adapters that speak HTTP share: a session for a profile's proxy and authorities, and what it means that no answer came."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport.errors import AmbiguousError, MlportError, UnavailableError

if TYPE_CHECKING:
    import requests


def agent() -> str:
    """How mlport calls itself."""
    from mlport import __version__

    return f"mlport/{__version__}"


def session(proxy: str | None, ca: Path | None) -> requests.Session:
    """An HTTP session without credentials. A profile's proxy or authorities win over the variables of the environment."""
    import requests

    made = requests.Session()
    made.headers["user-agent"] = agent()
    if proxy or ca:
        made.trust_env = False
    if proxy:
        made.proxies = {"https": proxy}
    if ca:
        made.verify = str(ca)
    return made


def failed(error: Exception, host: str, operation: str, provider: str, *, repeatable: bool) -> MlportError:
    """What to raise where a request got no answer. `repeatable`: made twice, the call does what it does once."""
    if never_sent(error):
        return unreached(error, host, operation, provider)
    kind = UnavailableError if repeatable else AmbiguousError
    return kind(f"{host} did not answer: {error}", provider=provider, operation=operation)


def unreached(error: Exception, host: str, operation: str, provider: str) -> MlportError:
    """Nobody was there to take the call, so nothing was done."""
    hint = "check the network, and proxy and ca in the profile"
    return UnavailableError(f"{host} could not be reached: {error}", hint=hint, provider=provider, operation=operation)


def never_sent(error: Exception) -> bool:
    """Whether the request cannot have reached anyone: no connection was made, or none that is trusted.

    urllib3 calls it a ProxyError, too, when a connection through a proxy breaks later; so what is inside it counts.
    """
    import ssl

    import requests
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError

    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    cause: Any = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    inner = reason.original_error if isinstance(reason, ProxyError) else reason
    if isinstance(inner, NewConnectionError | ConnectTimeoutError) or type(inner) is OSError:  # the last: the proxy refused CONNECT
        return True
    return isinstance(inner, Exception) and any(isinstance(each, ssl.SSLCertVerificationError) for each in (inner, *inner.args))
