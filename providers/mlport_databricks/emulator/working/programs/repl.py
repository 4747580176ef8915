"""An execution context: runs the commands that it is told of, one after the other in one namespace: `python repl.py FOLDER`.

A line in the pipe FOLDER/commands is the id of a command, whose text is in FOLDER/ID.command. FOLDER/ID.running is there while it
runs, and has this process's id; FOLDER/ID.result is a JSON object once it is over: `status` and `results` as commands/status answers
them. SIGINT ends the command whose FOLDER/ID.cancel is there. The value of a last line that is an expression is shown, as a notebook
does.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import signal
import sys
import textwrap
import traceback
import types
from pathlib import Path
from typing import Any

LARGEST = 20 * 1024 * 1024  # bytes of a result


class Cancelled(BaseException):
    """The command is to end."""


class Context:
    """One namespace, and what is known of its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.current, self.is_at_work = folder, 0, "", False
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        self.namespace = vars(module)
        notebook = notebook_program()
        self.exit: type[BaseException] = notebook.Exit
        self.namespace["dbutils"] = notebook.dbutils_of({})

    def interrupt(self, *_: object) -> None:
        if self.is_at_work and self.file("cancel").exists():
            raise Cancelled

    def file(self, kind: str) -> Path:
        return self.folder / f"{self.current}.{kind}"

    def run(self, number: str) -> None:
        """A command that is known by this id, once."""
        self.current = number
        if self.file("result").exists():
            return
        self.count += 1
        write(self.file("running"), str(os.getpid()))
        status, results = self.executed() if not self.file("cancel").exists() else ("Cancelled", {})
        write(self.file("result"), json.dumps({"status": status, "results": results}))

    def executed(self) -> tuple[str, dict[str, Any]]:
        with Captured(self.file("output")) as captured:
            failed = None
            try:
                self.is_at_work = True
                self.execute(self.file("command").read_text("utf-8"))
            except Cancelled:
                return "Cancelled", {}
            except self.exit as exit_:  # the SDK's remote dbutils have their answers so
                return "Finished", {"resultType": "text", "data": str(exit_), "truncated": False}
            except BaseException as error:  # noqa: BLE001 - it is the result
                failed = error
            finally:
                self.is_at_work = False
        if failed is None:
            return "Finished", {"resultType": "text", "data": captured.text, "truncated": captured.is_cut}
        frames = failed.__traceback__.tb_next.tb_next if failed.__traceback__ and failed.__traceback__.tb_next else None  # ours are away
        trace = "".join(traceback.format_exception(type(failed), failed, frames))
        return "Finished", {
            "resultType": "error",
            "summary": f"{type(failed).__name__}: {failed}",
            "cause": captured.text + trace,
        }

    def execute(self, text: str) -> None:
        tree = ast.parse(textwrap.dedent(text), f"<command-{self.count}>")
        end = tree.body[-1] if tree.body else None
        last = end.value if isinstance(end, ast.Expr) else None
        if last is not None:
            tree.body.pop()
        exec(compile(tree, f"<command-{self.count}>", "exec"), self.namespace)  # noqa: S102 - it is what a context is for
        if last is not None:
            value = eval(compile(ast.Expression(last), f"<command-{self.count}>", "eval"), self.namespace)  # noqa: S307
            if value is not None:
                print(f"Out[{self.count}]: {value!r}")


class Captured:
    """What is written to standard output and error, by other programs too."""

    def __init__(self, path: Path) -> None:
        self.path, self.text, self.is_cut = path, "", False

    def __enter__(self) -> Captured:
        self.kept = [os.dup(number) for number in (1, 2)]
        with self.path.open("wb") as stream:
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in zip((1, 2), self.kept, strict=True):
            os.dup2(kept, number)
            os.close(kept)
        found = self.path.read_bytes()
        self.text, self.is_cut = found[:LARGEST].decode(errors="replace"), len(found) > LARGEST


def notebook_program() -> types.ModuleType:
    """The file beside this one, whose folder is not where commands import from."""
    spec = importlib.util.spec_from_file_location("emulated_notebook", Path(__file__).with_name("notebook.py"))
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - it is a Python file
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path[0] = str(Path.cwd())
    return module


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    unfinished = path.with_suffix(f"{path.suffix}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def main(folder: Path) -> None:
    context = Context(folder)
    signal.signal(signal.SIGINT, context.interrupt)
    with os.fdopen(os.open(folder / "commands", os.O_RDWR), encoding="utf-8") as commands:  # also written to: it never ends
        write(folder / "ready", "")
        while line := commands.readline():
            context.run(line.strip())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
