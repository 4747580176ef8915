"""Every error mlport raises, as one tree.

MlportError
├── UsageError                  you asked for something impossible or wrong (exit status 2)
│   ├── ConfigError             mlport.toml, a profile or a target URL
│   ├── SpecError               a field of a spec
│   ├── UnsupportedError        the provider cannot do what the spec requires; names every gap
│   ├── NotFoundError           the thing named does not exist
│   ├── ConflictError           it exists already, or changed since you looked
│   │   └── InputChangedError   an input is not what it was when the plan was made
│   ├── UntrustedModelError     a model is code, and this one comes from elsewhere
│   └── MissingExtraError       the provider's packages are not installed
├── ProviderError               the provider refused or failed (exit status 1)
│   ├── AuthenticationError     it does not know who you are
│   ├── PermissionDeniedError   it knows, and you may not
│   ├── InvalidRequestError     it says that the request is malformed
│   ├── QuotaError              a limit of the account is reached; waiting alone does not help
│   ├── ThrottledError          too many requests for now (retryable)
│   ├── BusyError               another mutation of the same thing is under way (retryable)
│   ├── UnavailableError        it is down or did not answer, and nothing was done (retryable)
│   └── AmbiguousError          it did not answer, and the work may have been done: look before asking again
├── JobFailedError              the job ended without success (exit status 1)
├── BudgetError                 it does not fit into the profile's budget (exit status 3)
├── PredictionError             the endpoint answered a prediction with an error (exit status 1)
└── DeadlineError               the wait's deadline passed; the work goes on (exit status 1)

Adapters translate a vendor's error once, from its type, status and code, never from its prose, and raise
ours `from` the original.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, TypeVar

T = TypeVar("T")


class MlportError(Exception):
    """Base of all: a message for people, a hint that says what to do next, and the vendor's own words kept."""

    exit_code = 1
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        provider: str | None = None,
        operation: str | None = None,
        native_code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.provider = provider
        self.operation = operation
        self.native_code = native_code
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message

    def to_json(self) -> dict[str, Any]:
        """The error as plain data, for `--json`; empty fields are left out."""
        fields = ("message", "hint", "provider", "operation", "native_code", "request_id")
        found = {key: getattr(self, key) for key in fields if getattr(self, key) is not None}
        return {"error": type(self).__name__, "retryable": self.retryable, **found}


class UsageError(MlportError):
    """You asked for something impossible or wrong; nothing was started."""

    exit_code = 2


class ConfigError(UsageError):
    """A profile, mlport.toml or a target URL cannot be used as it is."""


class SpecError(UsageError):
    """A field of a spec is unknown, of the wrong type, or has a value that cannot work."""


class UnsupportedError(UsageError):
    """The provider lacks something that the spec requires. `gaps` maps each capability to its reason."""

    def __init__(self, provider: str, gaps: Iterable[tuple[str, str]], *, hint: str | None = None) -> None:
        self.gaps = dict(gaps)
        listed = "\n".join(f"  - {capability}: {why}" for capability, why in self.gaps.items())
        super().__init__(
            f"{provider} cannot do what is asked:\n{listed}",
            hint=hint or "change the spec, or choose another profile (`mlport explain` compares them)",
            provider=provider,
        )

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "gaps": self.gaps}


class NotFoundError(UsageError):
    """The job, model, version, alias, endpoint, deployment or monitor that you named does not exist."""


class ConflictError(UsageError):
    """It exists already with other content, or it changed since you looked at it."""


class InputChangedError(ConflictError):
    """An input's content is no longer what it was when the plan was made."""


class UntrustedModelError(UsageError):
    """The model comes from outside the profile's own registry, and loading a model runs its code."""


class MissingExtraError(UsageError):
    """A provider's packages are not installed; the hint is the command that installs them."""


class ProviderError(MlportError):
    """The provider refused or failed."""


class AuthenticationError(ProviderError):
    """The provider does not accept the credentials."""


class PermissionDeniedError(ProviderError):
    """The credentials are good, but lack a permission."""


class InvalidRequestError(ProviderError):
    """The provider says that the request is malformed. A plan that gets this far is a defect of the adapter."""


class QuotaError(ProviderError):
    """A limit of the account is reached; waiting alone does not help."""


class ThrottledError(ProviderError):
    """Too many requests for now."""

    retryable = True


class BusyError(ProviderError):
    """Another mutation of the same endpoint, model or job is under way."""

    retryable = True


class UnavailableError(ProviderError):
    """The provider is down or refused before doing anything."""

    retryable = True


class AmbiguousError(ProviderError):
    """No answer came, and the work may have been done. Find it by its token before asking again."""


class JobFailedError(MlportError):
    """The job ended without success. `job_id` and `state` say which and how."""

    def __init__(self, message: str, *, job_id: str, state: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.job_id, self.state = job_id, state

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "job_id": self.job_id, "state": self.state}


class BudgetError(MlportError):
    """The work does not fit into the profile's budget; nothing was started. `decision` has the amounts."""

    exit_code = 3

    def __init__(self, message: str, *, decision: dict[str, Any], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.decision = decision

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "budget": self.decision}


class PredictionError(MlportError):
    """The endpoint answered with an error. `status` is the HTTP status, `request_id` the one to quote."""

    def __init__(self, message: str, *, status: int, request_id: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, request_id=request_id)
        self.status = status

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "status": self.status}


class DeadlineError(MlportError):
    """The deadline of a wait passed. What was waited for goes on."""


def stamped(provider: str, role: str) -> Callable[[type[T]], type[T]]:
    """Decorate an adapter's role, such as its `jobs`: each error says provider and operation, where it does not already."""

    def decorate(kind: type[T]) -> type[T]:
        for name, method in list(vars(kind).items()):
            if isinstance(method, FunctionType) and not name.startswith("_"):
                setattr(kind, name, _stamping(method, provider, f"{role}.{name}"))
        return kind

    return decorate


def _stamping(method: Callable[..., Any], provider: str, operation: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except MlportError as error:
            error.provider, error.operation = error.provider or provider, error.operation or operation
            raise

    return call
