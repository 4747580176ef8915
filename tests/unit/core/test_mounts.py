"""mlport.emulation.mounts: a program sees folders at other paths, and is itself in everything else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlport.emulation import mounts
from mlport.emulation.mounts import available, command

needs_mounts = pytest.mark.skipif(bool(available()), reason=str(available()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "letter").write_text("hello")
    return tmp_path / "inside"


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that all may read, with the program in it."""
    with tempfile.TemporaryDirectory(prefix="mlport-public-") as name:
        place = Path(name)
        place.chmod(0o755)
        shutil.copy(mounts.__file__, place)
        yield place


@needs_mounts
def test_a_program_reads_and_writes_the_folder_at_its_path_and_the_machine_keeps_nothing(folder: Path) -> None:
    said = subprocess.run(
        command([(folder, "/mlport-volumes")], ["sh", "-c", "cat /mlport-volumes/letter; echo made > /mlport-volumes/made; pwd"]),
        capture_output=True,
        text=True,
        cwd=folder.parent,
        check=True,
    )
    assert said.stdout == f"hello{folder.parent}\n"
    assert (folder / "made").read_text() == "made\n"
    assert not Path("/mlport-volumes").exists()


@needs_mounts
def test_the_rest_of_the_root_is_there_and_two_folders_lie_beside_each_other(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    seen = subprocess.run(
        command([(folder, "/one"), (other, "/two")], ["ls", "-A", "/"]), capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(os.listdir("/")) | {"one", "two"} == set(seen)


@needs_mounts
def test_a_path_that_the_machine_has_is_the_folder_for_the_program_only(folder: Path) -> None:
    said = subprocess.run(command([(folder, "/srv")], ["ls", "/srv"]), capture_output=True, text=True, check=True).stdout
    assert said == "letter\n"
    assert not Path("/srv/letter").exists()


@needs_mounts
def test_process_id_exit_status_and_signals_are_the_programs(folder: Path) -> None:
    program = "import os,signal,sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print(os.getpid(), flush=True); signal.pause()"
    child = subprocess.Popen(command([(folder, "/one")], [sys.executable, "-c", program]), stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout as told:
        assert int(told.readline()) == child.pid
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 7


@needs_mounts
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which takes root")
def test_a_user_without_rights_gets_a_namespace_of_their_own(public: Path) -> None:
    program = command([(public, "/one")], ["sh", "-c", "id -u; test -e /one/mounts.py"])
    program[program.index(mounts.__file__)] = str(public / "mounts.py")  # this checkout may lie where only its owner looks
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    said = subprocess.run([*nobody, *program], cwd=public, capture_output=True, text=True, check=False)
    if "Operation not permitted" in said.stderr:
        pytest.skip("this machine allows no user namespace")
    assert (said.returncode, said.stdout) == (0, "65534\n"), said.stderr


def test_a_path_below_a_directory_and_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="/usr/one: a folder can be put directly under the root only"):
        command([(tmp_path, "/usr/one")], ["true"])
    with pytest.raises(ValueError, match="/proc"):
        command([(tmp_path, "/proc")], ["true"])
    with pytest.raises(ValueError, match="no such folder"):
        command([(tmp_path / "absent", "/one")], ["true"])


@needs_mounts
def test_a_program_that_is_not_there_fails_as_it_does_elsewhere(folder: Path) -> None:
    said = subprocess.run(command([(folder, "/one")], ["mlport-no-such-program"]), capture_output=True, text=True, check=False)
    assert said.returncode != 0
    assert "No such file" in said.stderr
