"""The set-up: its environments hold what the locks say, and its errors say what to do."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = [
    "scripts/demo",
    "scripts/test",
    "scripts/test-airflow",
    "scripts/test-frameworks",
    "scripts/docs",
    "scripts/lock",
    "scripts/_no_cc",
    ".ci/run",
]
USED = [
    "bash",
    "cat",
    "cksum",
    "cmp",
    "cp",
    "cut",
    "dirname",
    "env",
    "grep",
    "head",
    "mkdir",
    "rm",
    "sed",
    "tail",
]
UV = Path(sys.executable).with_name("uv")
BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/NAME-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("NAME.py", "")
        wheel.writestr("NAME-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: NAME\\nVersion: 1\\n")
        wheel.writestr("NAME-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("NAME-1.dist-info/RECORD", "")
    return "NAME-1-py3-none-any.whl"
"""


def _write_wheel(folder: Path, version: str, name: str = "thing") -> str:
    """Write a wheel of a package into a package index; returns the line of a lock that takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for member, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{member},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(member, text)
    links = "".join(f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _write_project(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "backend.py").write_text(BACKEND.replace("NAME", name))
    (folder / "pyproject.toml").write_text(
        f'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "1"\n'
    )


@pytest.fixture(scope="module")
def python_with_pip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with pip, which that of this environment has not."""
    folder = tmp_path_factory.mktemp("with pip")
    base = sys._base_executable  # type: ignore[attr-defined]
    subprocess.run([base, "-m", "venv", str(folder)], check=True, timeout=120)
    return str(folder / "bin" / "python")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project with the set-up script, locks of one package, and an index with that package."""
    folder = tmp_path / "a project"
    _write_project(folder, "some_project")
    (folder / "scripts").mkdir()
    for script in ("_setup.sh", "_pip_settings.py", "_no_cc"):
        shutil.copy(ROOT / "scripts" / script, folder / "scripts")
    (folder / "locks").mkdir()
    for name in ("dev", "training", "clients", "clients-v3", "provider", "frameworks", "tools"):
        (folder / "locks" / f"{name}.lock").write_text(_write_wheel(tmp_path / "index" / "thing", "1"))
    return folder


def _make_path(folder: Path, *programs: Path) -> str:
    """A PATH that holds what the script uses, as links, and these programs."""
    folder.mkdir(exist_ok=True)
    for program in [*(Path(str(shutil.which(name))) for name in USED), *programs]:
        if not (folder / program.name).exists():
            (folder / program.name).symlink_to(program)
    return str(folder)


def _environment(project: Path, **env: str) -> dict[str, str]:
    """Only the small project's package index, which pip's settings name, and the uv of this environment."""
    kept = {key: os.environ[key] for key in ("HOME", "TMPDIR", "UV_CACHE_DIR") if key in os.environ}
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (project.parent / "index").as_uri()}
    return {**kept, **pip, "PATH": _make_path(project / "bin", UV), "PYTHON": sys.executable, **env}


def _start(project: Path, code: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-c", f"set -euo pipefail; source scripts/_setup.sh; {code}"],
        cwd=project,
        env=_environment(project, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _run(project: Path, code: str, **env: str) -> subprocess.CompletedProcess[str]:
    process = _start(project, code, **env)
    stdout, stderr = process.communicate(timeout=180)
    return subprocess.CompletedProcess([code], process.returncode, stdout, stderr)


def _set_up(project: Path, code: str = "spot_setup_provider", **env: str) -> str:
    done = _run(project, code, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _read_version(project: Path, venv: str = ".venv-provider", name: str = "thing") -> str:
    code = f"import {name}; print({name}.version)"
    return subprocess.check_output([project / venv / "bin" / "python", "-c", code], text=True).strip()


def _wait_for(condition: Callable[[], object], what: str) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit, f"{what} did not happen within 30 s"
        time.sleep(0.01)


def _kill_all(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


@pytest.mark.parametrize("script", ["scripts/_setup.sh", *COMMANDS])
def test_every_script_is_sound_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True, timeout=10)


@pytest.mark.parametrize("script", COMMANDS)
def test_every_command_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


# Python ----------------------------------------------------------------------------------------------


def test_the_base_interpreter_is_found_and_not_that_of_a_virtual_environment(project: Path) -> None:
    done = _run(project, 'spot_find_python; echo "$SPOT_BASE_PYTHON"')
    assert Path(done.stdout.strip()) == Path(sys._base_executable).resolve()  # type: ignore[attr-defined]


def test_without_a_fitting_python_the_error_says_what_is_needed(project: Path) -> None:
    done = _run(project, "spot_setup", PYTHON="")
    assert done.returncode == 1
    assert "no Python from 3.11 to 3.14 on PATH. Install one" in done.stderr


@pytest.mark.parametrize(("airflow", "newest"), [("3.0.6", 12), ("3.1.8", 13)])
def test_an_earlier_airflow_takes_no_python_that_is_too_new_for_it(
    project: Path, airflow: str, newest: int
) -> None:
    (project / "locks" / f"airflow-{airflow}.lock").write_text((project / "locks" / "dev.lock").read_text())
    python = project / "python"
    code = f"import sys; sys.version_info = (3, {newest + 1}, 0); exec(sys.argv[1])"
    python.write_text(
        f'#!/usr/bin/env bash\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$2"\n'
    )
    python.chmod(0o755)
    assert _run(project, "spot_find_python", PYTHON=str(python)).returncode == 0
    done = _run(project, f"spot_setup_airflow {airflow}", PYTHON=str(python))
    assert done.returncode == 1
    assert f"no Python from 3.11 to 3.{newest} on PATH. Install one" in done.stderr


def test_each_earlier_airflow_has_an_environment_of_its_own(project: Path) -> None:
    (project / "locks" / "airflow-3.2.2.lock").write_text((project / "locks" / "dev.lock").read_text())
    assert ".venv-airflow-3.2.2 is ready" in _set_up(project, "spot_setup_airflow 3.2.2")
    assert _read_version(project, ".venv-airflow-3.2.2") == "1"
    assert _set_up(project, "spot_setup_airflow 3.2.2") == ""


def test_without_the_venv_module_the_error_says_what_to_install(project: Path) -> None:
    python = project / "python-without-venv"
    python.write_text("#!/usr/bin/env bash\nexit 1\n")
    python.chmod(0o755)
    path = _make_path(project / "without uv")
    done = _run(
        project, 'SPOT_BASE_PYTHON="$PWD/python-without-venv"; mkdir .venv-tools; spot_get_uv', PATH=path
    )
    assert done.returncode == 1
    assert "apt-get install python3-venv. Or put uv on PATH" in done.stderr


# Environments ----------------------------------------------------------------------------------------


def test_an_environment_is_made_in_a_path_with_a_space_and_then_left_alone(project: Path) -> None:
    said = _set_up(project)
    assert ".venv-provider: installing locks/provider.lock" in said
    assert _read_version(project) == "1"
    assert _set_up(project) == ""


def test_a_changed_lock_brings_the_environment_up_to_date(project: Path) -> None:
    _set_up(project)
    (project / ".venv-provider" / "kept").touch()
    (project / "locks" / "provider.lock").write_text(_write_wheel(project.parent / "index" / "thing", "2"))
    assert "installing" in _set_up(project)
    assert _read_version(project) == "2"
    assert (project / ".venv-provider" / "kept").exists()


def test_an_environment_that_was_moved_is_made_again(project: Path, tmp_path: Path) -> None:
    _set_up(project)
    moved = tmp_path / "moved"
    shutil.copytree(project, moved, symlinks=True)
    (moved / ".venv-provider" / "old").touch()
    assert "installing" in _set_up(moved)
    assert not (moved / ".venv-provider" / "old").exists()
    script = (moved / ".venv-provider" / "bin" / "activate").read_text()
    assert str(moved) in script


def test_an_environment_without_its_interpreter_is_made_again(project: Path) -> None:
    _set_up(project)
    python = project / ".venv-provider" / "bin" / "python"
    python.unlink()
    python.symlink_to(project / "gone")
    assert "installing" in _set_up(project)
    assert _read_version(project) == "1"


class _Stuck(http.server.SimpleHTTPRequestHandler):
    """Serves a package index, but no wheel before `go_on` is set."""

    asked = threading.Event()
    go_on = threading.Event()

    def do_GET(self) -> None:
        if self.path.endswith(".whl"):
            self.asked.set()
            self.go_on.wait(60)
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def stuck_index(project: Path) -> Iterator[str]:
    _Stuck.asked.clear()
    _Stuck.go_on.clear()
    handler = functools.partial(_Stuck, directory=str(project.parent / "index"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        _Stuck.go_on.set()
        server.shutdown()
        thread.join()


def test_an_environment_whose_making_was_interrupted_is_made_again(project: Path, stuck_index: str) -> None:
    index = {"PIP_INDEX_URL": stuck_index, "UV_NO_CACHE": "1"}
    interrupted = _start(project, "spot_setup_provider", **index)
    _wait_for(_Stuck.asked.is_set, "the download of the wheel")
    _kill_all(interrupted)
    (project / ".venv-provider" / "left").touch()
    _Stuck.go_on.set()
    assert ".venv-provider is ready" in _set_up(project, **index)
    assert not (project / ".venv-provider" / "left").exists()
    assert _read_version(project) == "1"


def test_an_environment_whose_update_failed_is_made_again(project: Path) -> None:
    _set_up(project)
    (project / ".venv-provider" / "left").touch()
    lock = project / "locks" / "provider.lock"
    line = _write_wheel(project.parent / "index" / "thing", "2")
    lock.write_text(f"thing==2 --hash=sha256:{'0' * 64}\n")
    assert _run(project, "spot_setup_provider").returncode == 1
    lock.write_text(line)
    _set_up(project)
    assert not (project / ".venv-provider" / "left").exists()
    assert _read_version(project) == "2"


def test_a_file_that_is_not_the_locked_one_is_refused(project: Path) -> None:
    lock = project / "locks" / "provider.lock"
    lock.write_text(f"thing==1 --hash=sha256:{'0' * 64}\n")
    done = _run(project, "spot_setup_provider")
    assert done.returncode == 1
    assert "Hash mismatch for `thing==1`" in done.stderr
    assert "locks/provider.lock could not be installed" in done.stderr
    assert not (project / ".venv-provider" / ".spot-complete").exists()


def test_a_lock_without_hashes_is_refused(project: Path) -> None:
    (project / "locks" / "provider.lock").write_text("thing==1\n")
    done = _run(project, "spot_setup_provider")
    assert done.returncode == 1
    assert "`--require-hashes`" in done.stderr


def test_the_project_and_its_packages_are_installed_with_the_tools(project: Path) -> None:
    _write_project(project / "packages" / "other", "other_project")
    _set_up(project, "spot_setup")
    code = "import thing, some_project, other_project"
    subprocess.run([project / ".venv" / "bin" / "python", "-c", code], check=True, timeout=30)
    assert _read_version(project, ".venv-training") == "1"
    assert _set_up(project, "spot_setup") == ""


@pytest.mark.parametrize("changed", ["pyproject.toml", "packages/other/pyproject.toml"])
def test_the_project_is_installed_again_when_its_metadata_changes(project: Path, changed: str) -> None:
    _write_project(project / "packages" / "other", "other_project")
    _set_up(project, "spot_setup")
    with (project / changed).open("a") as file:
        file.write('description = "changed"\n')
    assert _set_up(project, "spot_setup").count("is ready") == 1


def test_the_clients_environments_are_made_for_the_tests_and_never_for_the_demo() -> None:
    assert "spot_setup_clients" in (ROOT / "scripts" / "test").read_text()
    assert "spot_setup_clients" not in (ROOT / "scripts" / "demo").read_text()


def test_clients_environments_that_are_up_to_date_are_left_alone(project: Path) -> None:
    assert _set_up(project, "spot_setup_clients").count("is ready") == 2
    assert _set_up(project, "spot_setup_clients") == ""


def _lock_torch(project: Path, wheels: Path) -> None:
    """Lock a second package of a CPU build, which lies in a folder of wheels."""
    line = _write_wheel(wheels, "2+cpu", "torch")
    (project / "locks" / "torch-cpu.lock").write_text(line)


def test_the_frameworks_environment_has_torch_from_where_pips_settings_find_it(
    project: Path, tmp_path: Path
) -> None:
    _lock_torch(project, tmp_path / "wheels")
    _set_up(project, "spot_setup_frameworks", PIP_FIND_LINKS=str(tmp_path / "wheels"))
    assert _read_version(project, ".venv-frameworks", "torch") == "2+cpu"
    assert _read_version(project, ".venv-frameworks") == "1"
    assert _set_up(project, "spot_setup_frameworks") == ""


def test_without_cpu_wheels_where_pip_looks_torch_comes_from_its_own_index(
    project: Path, tmp_path: Path
) -> None:
    _lock_torch(project, tmp_path / "wheels")
    calls = project / "calls"
    script = project / "uv-that-notes-its-calls"
    script.write_text(f'#!/bin/sh\necho "$@" >>"{calls}"\nexec "{UV}" "$@"\n')
    script.chmod(0o755)
    (project / "bin").mkdir()
    (project / "bin" / "uv").symlink_to(script)
    done = _run(project, "spot_setup_frameworks", UV_OFFLINE="1")
    assert done.returncode == 1
    assert "locks/frameworks.lock could not be installed" in done.stderr
    assert (
        calls.read_text().splitlines()[-1].endswith("torch-cpu.lock --compile-bytecode --torch-backend cpu")
    )


@pytest.mark.parametrize(
    ("code", "venv"), [("spot_setup", "training"), ("spot_setup_frameworks", "frameworks")]
)
def test_what_jobs_import_is_compiled_because_they_may_not_write_it(
    project: Path, tmp_path: Path, code: str, venv: str
) -> None:
    _lock_torch(project, tmp_path / "wheels")
    _set_up(project, code, PIP_FIND_LINKS=str(tmp_path / "wheels"))
    assert list((project / f".venv-{venv}").rglob("thing.*.pyc"))


def test_what_the_scripts_start_keeps_what_it_compiled(project: Path) -> None:
    """Without bytecode, each process compiles all that it imports."""
    code = '"$PYTHON" -c "import sys; print(sys.dont_write_bytecode)"'
    assert _set_up(project, code, PYTHONDONTWRITEBYTECODE="1").splitlines()[-1] == "False"


# Several at once -------------------------------------------------------------------------------------


def test_two_set_ups_at_once_take_turns(project: Path) -> None:
    fifo = project / "fifo"
    os.mkfifo(fifo)
    first = _start(
        project, "spot_find_python; spot_alone bash -c 'echo in >>log; read -r <fifo; echo out >>log'"
    )
    _wait_for((project / "log").exists, "the first one's turn")
    second = _start(project, "spot_find_python; spot_alone bash -c 'echo in >>log; echo out >>log'")
    assert second.stdout is not None
    assert second.stdout.readline() == "[set-up] another set-up is at work in this folder; waiting for it\n"
    fifo.write_text("go on\n")
    for process in (first, second):
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert (project / "log").read_text().split() == ["in", "out"] * 2


def test_set_ups_at_the_same_time_make_an_environment_once(project: Path) -> None:
    several = [_start(project, "spot_setup_provider") for _ in range(3)]
    said = "".join(process.communicate(timeout=60)[0] for process in several)
    assert [process.returncode for process in several] == [0, 0, 0]
    assert said.count(".venv-provider is ready") == 1
    assert _read_version(project) == "1"


def test_a_set_up_that_was_killed_keeps_nobody_waiting(project: Path) -> None:
    os.mkfifo(project / "fifo")
    killed = _start(project, "spot_find_python; spot_alone bash -c 'echo in >>log; read -r <fifo'")
    _wait_for((project / "log").exists, "the first one's turn")
    _kill_all(killed)
    assert _set_up(project, "spot_find_python; spot_alone echo done") == "done\n"


# uv, package indexes, compilers ----------------------------------------------------------------------


def _give_uv_of_its_own(project: Path) -> None:
    """What an earlier set-up leaves in .venv-tools on a machine without uv."""
    (project / ".venv-tools" / "uv" / "bin").mkdir(parents=True)
    shutil.copy(project / "locks" / "tools.lock", project / ".venv-tools" / "uv")
    for name, target in {"uv": UV, "python": Path(sys.executable)}.items():
        (project / ".venv-tools" / "uv" / "bin" / name).symlink_to(target)


def test_the_machines_uv_is_used_if_it_is_new_enough(project: Path) -> None:
    assert _set_up(project, 'spot_find_python; spot_get_uv; echo "$SPOT_UV"').strip() == str(
        project / "bin" / "uv"
    )


def test_a_uv_that_is_too_old_is_not_used(project: Path) -> None:
    _give_uv_of_its_own(project)
    with (project / "pyproject.toml").open("a") as file:
        file.write('[tool.uv]\nrequired-version = ">=999"\n')
    found = _set_up(project, 'spot_find_python; spot_get_uv; echo "$SPOT_UV"').strip()
    assert found == str(project / ".venv-tools" / "uv" / "bin" / "uv")


def test_the_uv_of_the_environment_that_may_be_replaced_is_not_used(project: Path) -> None:
    _give_uv_of_its_own(project)
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "uv").symlink_to(UV)
    path = f"{project}/.venv/bin:{_make_path(project / 'without uv')}"
    found = _set_up(project, 'spot_find_python; spot_get_uv; echo "$SPOT_UV"', PATH=path).strip()
    assert found == str(project / ".venv-tools" / "uv" / "bin" / "uv")


def test_a_machine_without_uv_gets_the_locked_one(project: Path) -> None:
    path = _make_path(project / "without uv")
    code = 'spot_find_python; mkdir .venv-tools; spot_get_uv; echo "$SPOT_UV"'
    said = _set_up(project, code, PATH=path).splitlines()
    assert said == [
        "[set-up] getting uv into .venv-tools",
        str(project / ".venv-tools" / "uv" / "bin" / "uv"),
    ]
    assert (
        _read_version(project, ".venv-tools/uv") == "1"
    )  # what the small project's tools.lock has in uv's place


def test_a_changed_lock_brings_another_uv(project: Path) -> None:
    _give_uv_of_its_own(project)
    (project / "locks" / "tools.lock").write_text(_write_wheel(project.parent / "index" / "thing", "2"))
    path = _make_path(project / "without uv")
    said = _set_up(project, "spot_find_python; spot_get_uv", PATH=path)
    assert said == "[set-up] getting uv into .venv-tools\n"
    assert _read_version(project, ".venv-tools/uv") == "2"


@pytest.mark.parametrize("has_uv", [True, False], ids=["with uv", "without uv"])
def test_without_a_package_index_the_error_says_so_and_names_no_host(project: Path, has_uv: bool) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _Stuck) as server:
        port = server.server_port
    nowhere = {"PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple"}
    quick = {"PIP_RETRIES": "1", "UV_HTTP_RETRIES": "0", "UV_NO_CACHE": "1"}
    path = _make_path(project / "bin") if has_uv else _make_path(project / "without uv")
    done = _run(project, "spot_setup_provider", PATH=path, **nowhere, **quick)
    assert done.returncode == 1
    assert "no package index answers. Check the network and pip's configuration" in done.stderr
    assert "127.0.0.1" not in done.stdout + done.stderr


def test_a_failure_shows_the_last_words_without_the_address_of_an_index(project: Path) -> None:
    words = "no such thing at https://index.example/simple: Pool(host='index.example', port=443)"
    failing = shlex.quote(f"echo {shlex.quote(words)}; exit 7")
    done = _run(project, f"mkdir -p .venv-tools; spot_run thing bash -c {failing}")
    assert done.returncode == 1
    assert "no such thing at <index>/simple" in done.stderr
    assert "thing could not be installed" in done.stderr
    assert "index.example" not in done.stdout + done.stderr
    assert "index.example" in (project / ".venv-tools" / "setup.log").read_text()


def _read_pip_settings(python: str, tmp_path: Path, config: str, **env: str) -> dict[str, str]:
    """What a shell has after it has evaluated the lines for these settings of pip."""
    (tmp_path / "pip.conf").write_text(config)
    code = f'eval "$({shlex.quote(python)} {shlex.quote(str(ROOT))}/scripts/_pip_settings.py)"; env -0'
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
    }
    shown = subprocess.check_output(["bash", "-c", code], env={**environment, **env}, text=True, timeout=60)
    return dict(line.split("=", 1) for line in shown.split("\0") if "=" in line)


def test_uv_gets_pips_package_indexes_certificate_and_proxy(python_with_pip: str, tmp_path: Path) -> None:
    settings = _read_pip_settings(
        python_with_pip,
        tmp_path,
        "[global]\nindex-url = https://me:it's$5@one.example/simple\nextra-index-url = https://two.example/simple\n"
        "  https://three.example/simple\nfind-links = /wheels /more\ntrusted-host = one.example two.example\n"
        "cert = /some/ca file.pem\nproxy = http://proxy.example:3128\ntimeout = 60\n",
    )
    assert settings["UV_DEFAULT_INDEX"] == "https://me:it's$5@one.example/simple"
    assert settings["UV_INDEX"] == "https://two.example/simple https://three.example/simple"
    assert settings["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert settings["UV_FIND_LINKS"] == "/wheels,/more"
    assert settings["UV_INSECURE_HOST"] == "one.example two.example"
    assert settings["SSL_CERT_FILE"] == "/some/ca file.pem"
    assert settings["ALL_PROXY"] == "http://proxy.example:3128"
    assert settings["UV_HTTP_TIMEOUT"] == "60"


def test_pips_own_order_of_settings_holds_and_uvs_own_setting_comes_first(
    python_with_pip: str, tmp_path: Path
) -> None:
    config = (
        "[global]\nindex-url = https://one.example\ntimeout = 1\n[install]\nindex-url = https://two.example\n"
    )
    assert _read_pip_settings(python_with_pip, tmp_path, config)["UV_DEFAULT_INDEX"] == "https://two.example"
    chosen = _read_pip_settings(
        python_with_pip, tmp_path, config, PIP_INDEX_URL="https://three.example", UV_HTTP_TIMEOUT="9"
    )
    assert chosen["UV_DEFAULT_INDEX"] == "https://three.example"
    assert chosen["UV_HTTP_TIMEOUT"] == "9"


def test_without_settings_of_pip_uv_keeps_its_own(python_with_pip: str, tmp_path: Path) -> None:
    assert not any(name.startswith("UV_") for name in _read_pip_settings(python_with_pip, tmp_path, ""))


def test_without_a_compiler_a_stand_in_makes_an_empty_library(project: Path) -> None:
    link = '"$CC" -c x.c -o x.o && $LDSHARED x.o -o "build folder/x.so"'
    said = _set_up(project, f"spot_find_python; spot_stand_in_for_cc; {link}")
    assert "no C compiler" in said
    assert (project / "build folder" / "x.so").read_bytes() == b""


def test_a_compiler_with_pythons_headers_is_used(project: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    include = Path(
        sys.base_prefix, "include", f"python{sys.version_info[0]}.{sys.version_info[1]}", "Python.h"
    )
    if not compiler or not include.exists():
        pytest.skip("no C compiler with Python's headers")
    path = _make_path(project / "with cc", Path(compiler))
    said = _set_up(project, 'spot_find_python; spot_stand_in_for_cc; echo "CC=${CC:-}"', PATH=path)
    assert said == "CC=\n"
