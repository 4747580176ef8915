"""However it ends: one message, the right status, no traceback."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["jbos"], "did you mean 'jobs'?"),
        (["jobs", "sumbit"], "did you mean 'submit'?"),
        (["jobs", "list", "--limt", "3"], "--limit"),
        (["jobs", "list", "--limit", "many"], "not a valid integer"),
        (["jobs", "list", "-p", "lcoal"], "did you mean 'local'?"),
        (["jobs", "list", "-p", "tinny://x"], "did you mean 'tiny'?"),
        (["jobs", "list", "--config", "nothing.toml"], "no such file"),
        (["jobs", "get", "nothing"], "`mlport jobs list`"),
        (["jobs", "run", "--name", "Upper", "true"], "JobSpec.name"),
        (["jobs", "run", "--gpus", "1", "true"], "job.gpu"),
    ],
)
def test_what_is_wrong_is_status_2(mlport, args, message):
    ran = mlport(*args)
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_json_errors_are_one_document_wherever_json_is_said(mlport):
    for args in (["--json", "jobs", "get", "x"], ["jobs", "--json", "get", "x"], ["jobs", "get", "x", "--json"]):
        assert mlport(*args).json["error"] == "NotFoundError"
    assert mlport("jobs", "list", "--bogus", "--json").json["error"] == "NoSuchOption"


def test_global_options_are_taken_before_and_after_the_noun(mlport, home):
    mlport("jobs", "run", "--name", "a", "-p", f"tiny://{home.name}-x", "true")
    mlport("-p", f"tiny://{home.name}-x", "jobs", "run", "--name", "a", "true")
    for args in (["-p", f"tiny://{home.name}-x", "jobs", "list"], ["jobs", "list", "-p", f"tiny://{home.name}-x"]):
        assert len(mlport(*args, "--json").json) == 2
    assert mlport("jobs", "list", "--json").json == []


def test_a_provider_that_is_down_is_status_1(mlport, home):
    (home / "mlport.toml").write_text('[profiles.broken]\nprovider = "tiny"\ndown = true\n')
    ran = mlport("jobs", "list", "-p", "broken", "--json")
    assert (ran.status, ran.json["error"], ran.json["retryable"]) == (1, "UnavailableError", True)


def test_a_defect_shows_no_traceback_unless_asked(mlport, monkeypatch):
    import tiny_provider

    monkeypatch.setattr(tiny_provider.TinyJobs, "list", lambda *_: 1 / 0)
    ran = mlport("jobs", "list")
    assert ran.status == 1
    assert ran.err.startswith("error: ZeroDivisionError: division by zero\nhint: ")
    monkeypatch.setenv("MLPORT_DEBUG", "1")
    assert "Traceback" in mlport("jobs", "list").err


def test_quiet_leaves_notes_out(mlport):
    assert mlport("jobs", "list", "--quiet").err == ""


def test_ctrl_c_says_what_goes_on(environment):
    command = [sys.executable, "-m", "mlport.cli.main", "jobs", "run", "--name", "a", "--param", "forever=1", "--wait", "true"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stderr is not None
        said = ""
        while "RUNNING" not in said and "QUEUED" not in said:
            said += running.stderr.readline()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "job a-1 goes on: `mlport jobs wait a-1` waits again, `mlport jobs cancel a-1` ends it" in err
    assert "Traceback" not in err


def test_a_reader_that_leaves_is_no_error(environment):
    script = f"{sys.executable} -m mlport.cli.main providers --details | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith("capability")


def test_another_pipe_that_breaks_is_an_error(mlport, monkeypatch):
    import tiny_provider

    def broken(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(tiny_provider.TinyJobs, "list", broken)
    ran = mlport("jobs", "list")
    assert ran.status == 1
    assert "Broken pipe" in ran.err


def test_a_terminal_gets_a_table_and_a_pipe_gets_plain_text(environment, process):
    plain = process("providers", "tiny")
    assert "\x1b" not in plain.out
    assert plain.out.splitlines()[0].split() == ["capability", "tiny"]
    shown = _on_a_terminal([sys.executable, "-m", "mlport.cli.main", "providers", "tiny"], environment)
    assert "─" in shown
    assert json.loads(process("providers", "tiny", "--json").out)


def _on_a_terminal(command, environment):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, env={**environment, "TERM": "xterm", "COLUMNS": "100"}, stdout=theirs, stderr=theirs, stdin=theirs, close_fds=True
    ) as running:
        os.close(theirs)
        said, deadline = b"", time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # on Linux the end of a terminal's output
                break
            if not piece:
                break
            said += piece
        os.close(ours)
        running.wait(timeout=20)
    return said.decode()
