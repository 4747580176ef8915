"""Dockerfiles as Docker reads them, and paths of an image as paths of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlport_vertex.emulator.storing.image_store import Config, Layout, command_of, split_reference
from mlport_vertex.emulator.working.dockerfile import DockerfileError, expanded, pairs, parse

TEXT = r"""
# syntax=docker/dockerfile:1
# a comment
FROM --platform=linux/amd64 python:3.11-slim AS base

ENV A=1 \
    # inside
    B="two words"

RUN apt update && \
    echo 'a # b' \
    && true
COPY --from=base --chown=1:1 ["a b.txt", "/x/"]
ENTRYPOINT ["python", "-m", "x"]
cmd run me $NOW
"""


def test_instructions_with_their_lines_flags_and_forms() -> None:
    found = parse(TEXT)
    assert [(each.line, each.name) for each in found] == [
        (4, "FROM"),
        (6, "ENV"),
        (10, "RUN"),
        (13, "COPY"),
        (14, "ENTRYPOINT"),
        (15, "CMD"),
    ]
    origin, env, run, copy, entrypoint, command = found
    assert (origin.text, dict(origin.flags)) == ("python:3.11-slim AS base", {"platform": "linux/amd64"})
    assert pairs(env, {}) == {"A": "1", "B": "two words"}
    assert " ".join(run.text.split()) == "apt update && echo 'a # b' && true"
    assert (copy.words, dict(copy.flags)) == (("a b.txt", "/x/"), {"from": "base", "chown": "1:1"})
    assert entrypoint.command == ("python", "-m", "x")
    assert command.command == ("/bin/sh", "-c", "run me $NOW")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must begin with FROM"),
        ("RUN x", "must begin with FROM"),
        ("FROM x\nNOPE y", "line 2: unknown instruction: NOPE"),
        ("FROM x\n\nRUN", "line 3: RUN requires at least one argument"),
        ("FROM x\nRUN <<EOF\nx\nEOF", "line 2: here-documents"),
        ("# escape=`\nFROM x", "line 1: the directive escape"),
    ],
)
def test_what_cannot_be_read_names_its_line(text: str, said: str) -> None:
    with pytest.raises(DockerfileError, match=said):
        parse(text)


def test_variables() -> None:
    known = {"A": "1", "EMPTY": ""}
    assert expanded(r"$A ${A} ${EMPTY:-d} ${NO:-e$A} ${A:+s} ${NO:+n} \$A $NO.", known) == "1 1 d e1 s  $A ."


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "root", tmp_path / "python", tmp_path / "shims")
    (made.root / "usr/bin").mkdir(parents=True)
    (made.root / "usr/bin/own").touch()
    return made


def test_paths_of_an_image_are_paths_of_this_machine(layout: Layout) -> None:
    root = layout.root
    assert layout.real("/srv/app") == f"{root}/srv/app"
    assert layout.real("/../../etc/passwd") == f"{root}/etc/passwd"
    assert layout.real("/usr/local/bin/python") == f"{layout.python}/bin/python"
    assert (layout.real("/usr/bin/env"), layout.real("/usr/bin/own")) == ("/usr/bin/env", f"{root}/usr/bin/own")
    assert layout.real("/dev/null") == "/dev/null"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rm -rf /var/lib/apt/lists/*", "rm -rf {root}/var/lib/apt/lists/*"),
        ("echo x>/srv/y 2>/dev/null", "echo x>{root}/srv/y 2>/dev/null"),
        ("A=/srv/a:/srv/b run", "A={root}/srv/a:{root}/srv/b run"),
        ("curl https://example.com/a/b", "curl https://example.com/a/b"),
        ("pip install 'm @ file:///srv/m.whl'", "pip install 'm @ file://{root}/srv/m.whl'"),
        ("cp a/b ./c", "cp a/b ./c"),
    ],
)
def test_absolute_paths_in_a_text_are_made_real(layout: Layout, text: str, wanted: str) -> None:
    assert layout.mapped(text) == wanted.format(root=layout.root)


def test_a_containers_command_is_joined_as_kubernetes_does() -> None:
    config = Config(entrypoint=("e",), cmd=("c",))
    assert command_of(config, (), ()) == ["e", "c"]
    assert command_of(config, (), ("a",)) == ["e", "a"]
    assert command_of(config, ("x",), ()) == ["x"]
    assert command_of(config, ("x",), ("a",)) == ["x", "a"]
    assert command_of(Config(), (), ()) == ["python3"]


def test_references() -> None:
    assert split_reference("h/p/r/i:1") == ("h/p/r/i", "1", "")
    assert split_reference("h:5000/i") == ("h:5000/i", "latest", "")
    assert split_reference("h/i:1@sha256:0") == ("h/i", "1", "sha256:0")
