"""Installs libraries for a task: `python install.py TARGET [--index URL] REQUIREMENT|FILE.whl|-r FILE ...`.

What the interpreter has already, as Databricks Runtime has its own libraries, is left as it is. The rest goes to TARGET, with
what it requires: one `uv pip install --no-deps` after the other until nothing is missing.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


def main(arguments: list[str]) -> int:
    target, *rest = arguments
    options: list[str] = []
    if rest and rest[0] == "--index":
        options, rest = ["--index-url", rest[1]], rest[2:]
    Path(target).mkdir(parents=True, exist_ok=True)
    with Path(target).with_name("installing").open("w") as held:  # not in the target: uv locks a file of its own there
        fcntl.flock(held, fcntl.LOCK_EX)  # tasks share the libraries of a cluster
        return install(target, options, list(expanded(rest)))


def install(target: str, options: list[str], wanted: list[str]) -> int:
    extras = set[tuple[str, str]]()
    while missing := [each for each in wanted if not satisfied(each, target)]:
        before = installed([target])
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", target]
        outcome = subprocess.run([*command, *options, *missing], check=False)
        if outcome.returncode:
            return outcome.returncode
        new = {name: found for name, found in installed([target]).items() if name not in before or found.version != before[name].version}
        extras |= {(name, extra) for name, several in map(named_extras, missing) for extra in several}
        wanted = [each for name, found in new.items() for each in requires(found, {extra for of, extra in extras if of == name})]
    return 0


def expanded(arguments: Iterable[str]) -> Iterator[str]:
    """Each requirement, those in files among them."""
    words = iter(arguments)
    for word in words:
        if word in ("-r", "--requirement"):
            lines = Path(next(words)).read_text(encoding="utf-8").splitlines()
            yield from (text for line in lines if (text := line.partition(" #")[0].strip()) and not text.startswith("#"))
        elif word.startswith("-r "):
            yield from expanded(word.split(maxsplit=1))
        elif not word.startswith("-"):
            yield word


def installed(path: list[str]) -> dict[str, metadata.Distribution]:
    return {canonicalize_name(found.metadata["Name"]): found for found in reversed(list(metadata.distributions(path=path)))}


def satisfied(wanted: str, target: str) -> bool:
    """Whether it is there, in the target or with the interpreter. A file is always to be installed."""
    try:
        requirement = Requirement(wanted)
    except InvalidRequirement:
        return False
    if requirement.url or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
        return not requirement.url
    found = installed([target, *sys.path]).get(canonicalize_name(requirement.name))
    return found is not None and requirement.specifier.contains(found.version, prereleases=True)


def named_extras(wanted: str) -> tuple[str, set[str]]:
    try:
        requirement = Requirement(wanted)
    except InvalidRequirement:
        return "", set()
    return canonicalize_name(requirement.name), requirement.extras


def requires(found: metadata.Distribution, extras: set[str]) -> Iterator[str]:
    """What a distribution needs on this interpreter, without its marker."""
    for text in found.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            requirement.marker = None
            yield str(requirement)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
