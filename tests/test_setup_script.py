"""The set-up script: what it decides before it installs anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ["scripts/_setup.sh", "scripts/test", "scripts/lock", ".ci/run"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the script and locks of its own."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "_setup.sh", tmp_path / "scripts")
    (tmp_path / "a.lock").write_text("thing==1\n")
    return tmp_path


def _run(project: Path, code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail; source scripts/_setup.sh; {code}"],
        cwd=project,
        env={**os.environ, "PYTHON": sys.executable, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def _make_path_without(folder: Path, *hidden: str) -> str:
    """A PATH that holds the usual programs as links, without some of them."""
    folder.mkdir()
    for program in {"bash", "cat", "mkdir", "rm", "sleep", "dirname", "touch"} - set(hidden):
        (folder / program).symlink_to(str(shutil.which(program)))
    return str(folder)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_sound_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True, timeout=10)


@pytest.mark.parametrize("script", SCRIPTS[1:])
def test_every_command_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def test_the_base_interpreter_is_found_and_not_that_of_a_virtual_environment(project: Path) -> None:
    done = _run(project, 'spot_find_python; echo "$SPOT_BASE_PYTHON"')
    assert Path(done.stdout.strip()).resolve() == Path(sys._base_executable).resolve()  # type: ignore[attr-defined]


def test_without_a_fitting_python_the_error_says_what_is_needed(project: Path) -> None:
    done = _run(project, "spot_find_python", PYTHON="", PATH=_make_path_without(project / "bin"))
    assert done.returncode == 1
    assert "no Python from 3.11 to 3.14 on PATH" in done.stderr


def test_an_environment_is_stale_when_its_lock_or_its_place_changes(project: Path, tmp_path: Path) -> None:
    code = "spot_find_python; spot_stamp a.lock"
    before = _run(project, code).stdout
    assert _run(project, code).stdout == before
    (project / "a.lock").write_text("thing==2\n")
    changed = _run(project, code).stdout
    moved = tmp_path / "moved"
    shutil.copytree(project, moved, ignore=shutil.ignore_patterns("moved"))
    assert len({before, changed, _run(moved, code).stdout}) == 3


@pytest.mark.parametrize("hidden", [(), ("flock",)], ids=["with flock", "without flock"])
def test_two_set_ups_at_once_take_turns(project: Path, hidden: tuple[str, ...]) -> None:
    path = _make_path_without(project / "bin", *hidden)
    if not hidden:
        (project / "bin" / "flock").symlink_to(str(shutil.which("flock")))
    code = "spot_lock; echo in >>log; sleep 0.3; echo out >>log; spot_unlock"
    command = ["bash", "-c", f"set -euo pipefail; source scripts/_setup.sh; {code}"]
    several = [subprocess.Popen(command, cwd=project, env={**os.environ, "PATH": path}) for _ in range(3)]
    assert [process.wait(30) for process in several] == [0, 0, 0]
    assert (project / "log").read_text().split() == ["in", "out"] * 3


def test_a_lock_left_by_a_set_up_that_was_killed_is_taken_over(project: Path) -> None:
    left = project / ".venv-tools" / "setup.lock.d"
    left.mkdir(parents=True)
    with subprocess.Popen(["true"]) as gone:
        pass
    (left / "pid").write_text(f"{gone.pid}\n")
    done = _run(
        project, "spot_lock; spot_unlock; echo done", PATH=_make_path_without(project / "bin", "flock")
    )
    assert done.stdout.split()[-1] == "done"


def test_a_failure_shows_the_last_words_without_the_address_of_an_index(project: Path) -> None:
    failing = "echo no such thing at https://index.example/simple; exit 7"
    done = _run(project, f"mkdir -p .venv-tools; spot_run thing bash -c '{failing}'")
    assert done.returncode == 7
    assert "thing failed" in done.stdout
    assert "no such thing at <index>/simple" in done.stdout
    assert "index.example" not in done.stdout + done.stderr


def test_the_clients_environments_are_made_for_the_tests_and_never_for_the_demo() -> None:
    assert "spot_setup_clients" in (ROOT / "scripts" / "test").read_text()
    assert "spot_setup_clients" not in (ROOT / "scripts" / "demo").read_text()


def test_clients_environments_that_are_up_to_date_are_left_alone(project: Path) -> None:
    for name in ("clients", "clients-v3"):
        (project / f"requirements-{name}.lock").write_text("thing==1\n")
        (project / f".venv-{name}" / "bin").mkdir(parents=True)
        (project / f".venv-{name}" / "bin" / "python").symlink_to(sys.executable)
    stamps = "for n in clients clients-v3; do spot_stamp requirements-$n.lock >.venv-$n/.spot-complete; done"
    done = _run(project, f"spot_find_python; {stamps}; spot_setup_clients")
    assert done.stdout == "[set-up] the clients' environments are up to date\n"
