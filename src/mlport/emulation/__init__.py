"""What every emulator stands on: the front door, its certificate authority, kept documents, faults on demand.

An emulator answers for a vendor's real host names on this machine, so that an unmodified program of the vendor's SDK
reaches it by environment variables alone, and does the work that it is asked for. `mlport emulate NAME` runs one.
"""

SUFFIX = "-emulated"  # the profile `NAME-emulated` is the emulator NAME, started when it is needed


def emulator_of(profile: str) -> tuple[str, str]:
    """The emulator that a profile's name asks for, and further fields of the target as a URL's query; two empty texts for none.

    >>> emulator_of("cloud-emulated"), emulator_of("cloud-emulated?transport=grpc"), emulator_of("cloud")
    (('cloud', ''), ('cloud', 'transport=grpc'), ('', ''))
    """
    name, _, query = profile.partition("?")
    return (name.removesuffix(SUFFIX), query) if name.endswith(SUFFIX) else ("", "")


def with_query(target: str, query: str) -> str:
    """A target URL with more fields.

    >>> with_query("cloud://project?staging=x", "transport=grpc")
    'cloud://project?staging=x&transport=grpc'
    """
    return f"{target}{'&' if '?' in target else '?'}{query}" if query else target
