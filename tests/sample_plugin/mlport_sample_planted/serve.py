"""The server of `AnyPrefixOpens`."""

from __future__ import annotations

from mlport_sample.serve import Handler, RefusedError, _keys, main


class Careless(Handler):
    """Compares a key only as far as the caller wrote it down."""

    def _authorize(self) -> None:
        given = self.headers["authorization"] or ""
        if not given or not any(f"Bearer {key}".startswith(given) for key in _keys()):
            raise RefusedError(401, "a key is needed")


if __name__ == "__main__":
    main(Careless)
