"""A Dockerfile at work with no container engine: FROM, COPY, RUN and the rest on the folders of `image_store`.

What RUN does is done by processes of this machine, in the image's folder: absolute paths in its text are made the image's,
pip installs what the context holds and takes what is installed beside the emulator as there, without network, and commands
that would change the machine fail and say so. A program that goes by absolute paths of its own reaches the machine's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlport_vertex.emulator.storing.image_store import Config, ImageStore, Layout, copied, layout, prepare
from mlport_vertex.emulator.working import images
from mlport_vertex.emulator.working.dockerfile import DockerfileError, Instruction, expanded, pairs, parse, split

KEPT = ("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
OF_PIP = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_BUILD_ISOLATION": "0",
    "PIP_NO_INPUT": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}
LOOK = 0.05
Write = Callable[[str], None]


class BuildError(Exception):
    """Why an image cannot be built, in the words of `docker build`."""


@dataclass(slots=True)
class Stage:
    """One stage of a Dockerfile: where it is built, and what its containers will be."""

    name: str
    layout: Layout
    config: Config
    args: dict[str, str] = field(default_factory=dict)
    shell: tuple[str, ...] = ("/bin/sh", "-c")

    @property
    def known(self) -> Mapping[str, str]:
        """The variables that instructions see: ENV counts more than ARG."""
        return {**self.args, **self.config.env}


class Builder:
    """Builds one Dockerfile."""

    def __init__(self, store: ImageStore, context: Path, folder: str, write: Write, stopped: Callable[[], str]) -> None:
        """Args: `folder` is the image's, a name that no other has; `stopped` says why the build is to end, empty while it is not."""
        self._store, self._context, self._folder, self._write, self._stopped = store, context, folder, write, stopped
        self._stages: list[Stage] = []
        self._given: Mapping[str, str] = {}

    def build(self, dockerfile: str, given: Mapping[str, str], target: str = "") -> tuple[Path, Config]:
        """The folder and configuration of the image that a Dockerfile describes. Raises BuildError."""
        self._given = given
        try:
            instructions = parse(dockerfile)
            before: dict[str, str] = {}
            for number, instruction in enumerate(instructions, 1):
                self._write(f"Step {number}/{len(instructions)} : {instruction}")
                if self._stages and target and instruction.name == "FROM" and self._stages[-1].name == target:
                    break
                if not self._stages and instruction.name == "ARG":
                    before.update(self._declared(instruction, before))
                else:
                    self._do(instruction, before)
        except DockerfileError as error:
            raise BuildError(str(error)) from error
        if target and self._stages[-1].name != target:
            raise BuildError(f"failed to reach build target {target} in Dockerfile")
        return self._stages[-1].layout.root.parent, self._stages[-1].config

    def _do(self, instruction: Instruction, before: Mapping[str, str]) -> None:
        if reason := self._stopped():
            raise BuildError(reason)
        if instruction.name == "FROM":
            self._from(instruction, before)
            return
        stage = self._stages[-1]
        if instruction.name == "ARG":
            stage.args.update(self._declared(instruction, {**before, **stage.known}))
        elif instruction.name == "RUN":
            self._run(instruction, stage)
        elif instruction.name in ("COPY", "ADD"):
            self._copy(instruction, stage)
        elif instruction.name == "SHELL":
            stage.shell = instruction.words
        else:
            stage.config = _described(instruction, stage)
        if instruction.name == "WORKDIR":
            Path(stage.layout.real(stage.config.workdir)).mkdir(parents=True, exist_ok=True)

    def _declared(self, instruction: Instruction, known: Mapping[str, str]) -> dict[str, str]:
        names = [word.partition("=")[0] for word in split(instruction, instruction.text)]
        values = {**pairs(instruction, known), **{name: self._given[name] for name in names if name in self._given}}
        return {name: value for name, value in values.items() if name in names}

    # ---------------------------------------------------------------- FROM

    def _from(self, instruction: Instruction, before: Mapping[str, str]) -> None:
        words = expanded(instruction.text, before).split()
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            raise BuildError(f"dockerfile line {instruction.line}: FROM requires either one or three arguments")
        name = words[2] if len(words) == 3 else str(len(self._stages))
        folder = self._store.folder(f"{self._folder}-{len(self._stages)}")
        shutil.rmtree(folder, ignore_errors=True)
        made, config = prepare(folder), Config()
        parent = next(((stage.layout, stage.config) for stage in self._stages if stage.name == words[0]), None)
        if parent is None and (built := self._store.find(words[0])):
            parent = layout(built.folder), built.config
        if parent is not None:
            config = parent[1]
            copied(parent[0].root, made.root)
            _adopt(parent[0].python, made.python)
        elif words[0] != "scratch" and not images.is_base(words[0]):
            raise BuildError(
                f"pull access denied for {words[0]}, repository does not exist or may require authorization: the emulator pulls nothing; "
                "it has python:*, Google's prebuilt images, and what was built here"
            )
        self._stages.append(Stage(name, made, config))

    # ---------------------------------------------------------------- COPY, ADD

    def _copy(self, instruction: Instruction, stage: Stage) -> None:
        words = instruction.words if instruction.exec_form else tuple(split(instruction, instruction.text))
        sources, target = [expanded(word, stage.known) for word in words[:-1]], expanded(words[-1], stage.known) if words else ""
        if not sources:
            raise BuildError(f"dockerfile line {instruction.line}: {instruction.name} requires at least two arguments")
        base = self._source(instruction)
        absolute = target if target.startswith("/") else f"{stage.config.workdir.rstrip('/')}/{target}"
        destination = Path(stage.layout.real(os.path.normpath(absolute)))
        found = [path for source in sources for path in self._matching(instruction, base, source)]
        into = target.endswith("/") or target in (".", "..") or len(found) > 1 or destination.is_dir()
        for path in found:
            self._put(instruction, path, destination, into)

    def _source(self, instruction: Instruction) -> Path:
        named = instruction.flags.get("from")
        if named is None:
            return self._context
        stage = next((each for number, each in enumerate(self._stages[:-1]) if named in (each.name, str(number))), None)
        if stage is not None:
            return stage.layout.root
        built = self._store.find(named)
        if built is None:
            raise BuildError(f"invalid from flag value {named}: no stage or image of that name was built here")
        return layout(built.folder).root

    @staticmethod
    def _matching(instruction: Instruction, base: Path, source: str) -> list[Path]:
        if "://" in source:
            raise BuildError(
                f"dockerfile line {instruction.line}: {instruction.name} {source}: the emulator fetches nothing from the network"
            )
        pattern = os.path.normpath("/" + source).lstrip("/")
        found = sorted(base.glob(pattern)) if pattern else [base]
        inside = [path for path in found if path.resolve().is_relative_to(base.resolve())]
        if not inside:
            raise BuildError(
                f"{instruction.name} failed: file not found in build context or excluded by .dockerignore: stat {source}: file does not exist"
            )
        return inside

    @staticmethod
    def _put(instruction: Instruction, path: Path, destination: Path, into: bool) -> None:
        if path.is_dir():
            copied(path, destination)
        elif instruction.name == "ADD" and tarfile.is_tarfile(path):
            destination.mkdir(parents=True, exist_ok=True)
            with tarfile.open(path) as archive:
                archive.extractall(destination, filter="data")
        else:
            target = destination / path.name if into else destination
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)

    # ---------------------------------------------------------------- RUN

    def _run(self, instruction: Instruction, stage: Stage) -> None:
        """Do it, its output in the log. What it leaves running is ended."""
        if instruction.flags.get("mount"):
            self._write("the emulator has no mounts: --mount is taken, and without effect")
        words = instruction.words if instruction.exec_form else (*stage.shell, instruction.text)
        command = [stage.layout.mapped(word) for word in words]
        surroundings = {name: os.environ[name] for name in KEPT if name in os.environ}
        env = {**surroundings, **OF_PIP, "HOME": str(stage.layout.root), **stage.layout.environment({**stage.args, **stage.config.env})}
        code = self._process(command, env, Path(stage.layout.real(stage.config.workdir)))
        if code:
            said = instruction.text if not instruction.exec_form else " ".join(words)
            raise BuildError(f"The command '{' '.join(stage.shell)} {said}' returned a non-zero code: {code}")

    def _process(self, command: list[str], env: Mapping[str, str], folder: Path) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        output = self._store.folder(f"{self._folder}.out")
        try:
            with output.open("wb") as target:
                child = subprocess.Popen(
                    command, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=target, stderr=subprocess.STDOUT, start_new_session=True
                )
            return self._followed(child, output)
        except OSError as error:
            raise BuildError(f"{command[0]} cannot be started: {error.strerror}") from error
        finally:
            output.unlink(missing_ok=True)

    def _followed(self, child: subprocess.Popen[bytes], output: Path) -> int:
        """Its exit code, once all that it printed is written."""
        with output.open(encoding="utf-8", errors="replace") as printed:
            while True:
                try:
                    code = child.wait(LOOK)
                except subprocess.TimeoutExpired:
                    code = None
                for line in printed:
                    self._write(line.rstrip("\n"))
                reason = self._stopped()
                if code is not None or reason:
                    _end(child)
                if reason:
                    raise BuildError(reason)
                if code is not None:
                    return 128 - code if code < 0 else code


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        child.wait()


def _adopt(parent: Path, made: Path) -> None:
    """What pip added to the image that this one is made from, its commands made to use this one's Python."""
    for folder in parent.glob("lib/python*/site-packages"):
        copied(folder, made / folder.relative_to(parent))
    for command in (parent / "bin").iterdir():
        target = made / "bin" / command.name
        if not target.exists() and not command.is_symlink():
            content = command.read_bytes().replace(os.fsencode(parent), os.fsencode(made))
            target.write_bytes(content)
            target.chmod(command.stat().st_mode)


def _described(instruction: Instruction, stage: Stage) -> Config:
    """The configuration after an instruction that changes nothing else."""
    config, known = stage.config, stage.known
    text = expanded(instruction.text, known)
    match instruction.name:
        case "ENV":
            return replace(config, env={**config.env, **pairs(instruction, known)})
        case "LABEL":
            return replace(config, labels={**config.labels, **pairs(instruction, known)})
        case "WORKDIR":
            return replace(config, workdir=os.path.normpath(text if text.startswith("/") else f"{config.workdir}/{text}"))
        case "USER":
            return replace(config, user=text)
        case "EXPOSE":
            return replace(config, exposed=(*config.exposed, *text.split()))
        case "ENTRYPOINT":  # Docker forgets the CMD of the image that this one is made from
            return replace(config, entrypoint=instruction.command, cmd=())
        case "CMD":
            return replace(config, cmd=instruction.command)
    return config  # VOLUME, STOPSIGNAL, HEALTHCHECK and MAINTAINER say nothing that is used here
