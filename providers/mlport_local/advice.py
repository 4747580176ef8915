"""What to know before a plan is carried out: secrets in sight, doors that stand open."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from mlport.masking import warnings
from mlport.specs import DeploymentSpec, EndpointSpec, JobSpec, Spec
from mlport_local.config import LocalConfig


def advice(config: LocalConfig, spec: Spec) -> Iterator[str]:
    """Notes for the plan of a spec. Pure."""
    if isinstance(spec, JobSpec):
        yield from warnings("JobSpec.env", spec.env, "name it in `secrets` instead")
    if isinstance(spec, DeploymentSpec):
        yield from warnings("DeploymentSpec.env", spec.env, "let the model read it from a file that only you can read")
    if isinstance(spec, EndpointSpec):
        yield from advice(config, spec.deployment)
        if not is_loopback(config.host):
            yield from _exposed(config, spec)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _exposed(config: LocalConfig, spec: EndpointSpec) -> Iterator[str]:
    if config.certificate is None:
        yield f"host {config.host} is reached from other machines, and without a certificate keys and rows pass in the clear"
    if spec.auth == "none":
        yield f"host {config.host} is reached from other machines, and auth 'none' lets anyone call"
