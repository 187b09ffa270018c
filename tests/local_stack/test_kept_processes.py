"""Nothing of a kept process outlives its owner, however either of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from include.local_stack import LocalStackError, PortTakenError, wait_until
from include.local_stack.process import KeptProcess

ROOT = Path(__file__).parents[2]
# A parent that ignores SIGTERM, a child in its process group, and a grandchild in a session of its own.
STUBBORN = (
    "trap '' TERM; sleep 1000 & setsid sleep 1001 & "
    "echo $! > escaped; echo started; while :; do sleep 1002; done"
)


@contextmanager
def _kept(folder: Path, script: str, grace_seconds: float = 0.3) -> Iterator[KeptProcess]:
    process = KeptProcess(
        "thing",
        ["bash", "-c", script],
        env=dict(os.environ),
        cwd=folder,
        log=folder / "thing.log",
        grace_seconds=grace_seconds,
    )
    try:
        yield process
    finally:
        process.kill()


def _wait_for_escaped(folder: Path) -> int:
    def look() -> int | None:
        path = folder / "escaped"
        return int(path.read_text() or 0) if path.exists() else None

    return wait_until(look, "the escaped process", timeout_seconds=10)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _list_strays(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_a_stopped_process_takes_everything_below_it_along(tmp_path: Path) -> None:
    with _kept(tmp_path, STUBBORN) as process:
        escaped = _wait_for_escaped(tmp_path)
        process.stop()
        assert not _is_alive(process.pid)
        assert not _is_alive(escaped)
        assert _list_strays(tmp_path) == []


def _is_frozen(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def test_a_frozen_process_stands_still_with_everything_below_it_until_it_is_thawed(tmp_path: Path) -> None:
    with _kept(tmp_path, STUBBORN) as process:
        escaped = _wait_for_escaped(tmp_path)
        frozen = process.freeze()
        assert {process.pid, escaped} < set(frozen.pids)
        wait_until(lambda: all(map(_is_frozen, frozen.pids)), "the frost", timeout_seconds=10)
        assert process.exit_code is None
        frozen.thaw()
        wait_until(lambda: not any(map(_is_frozen, frozen.pids)), "the thaw", timeout_seconds=10)
        assert _is_alive(process.pid)


def test_a_frozen_process_can_be_killed(tmp_path: Path) -> None:
    with _kept(tmp_path, STUBBORN) as process:
        escaped = _wait_for_escaped(tmp_path)
        process.freeze()
        process.kill()
        assert not _is_alive(escaped)
        assert _list_strays(tmp_path) == []


def test_a_killed_process_takes_everything_below_it_along(tmp_path: Path) -> None:
    with _kept(tmp_path, STUBBORN) as process:
        _wait_for_escaped(tmp_path)
        process.kill()
        assert process.exit_code == 128 + signal.SIGKILL
        assert _list_strays(tmp_path) == []


def test_a_process_that_ends_by_itself_takes_its_orphans_along(tmp_path: Path) -> None:
    with _kept(tmp_path, "setsid sleep 1001 & exit 3") as process:
        assert wait_until(lambda: process.exit_code, "its end", timeout_seconds=10) == 3
        assert _list_strays(tmp_path) == []


def test_a_patient_stop_lets_a_process_wind_down(tmp_path: Path) -> None:
    script = "trap 'sleep 0.6; echo wound down; exit 0' TERM; echo started; while :; do sleep 0.05; done"
    with _kept(tmp_path, script, grace_seconds=0.1) as process:
        wait_until(lambda: "started" in process.read_log(), "its start", timeout_seconds=10)
        process.stop_patiently()
        assert process.exit_code == 0
        assert "wound down" in process.read_log()


def test_a_process_that_is_asked_to_stop_patiently_winds_down_meanwhile(tmp_path: Path) -> None:
    script = "trap 'echo wound down; exit 0' TERM; echo started; while :; do sleep 0.05; done"
    with _kept(tmp_path, script, grace_seconds=0.1) as process:
        wait_until(lambda: "started" in process.read_log(), "its start", timeout_seconds=10)
        process.ask_to_stop_patiently()
        wait_until(lambda: process.exit_code == 0, "its end", timeout_seconds=10)
        process.stop_patiently()
        assert "wound down" in process.read_log()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_owner_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    owner_script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from include.local_stack.process import KeptProcess\n"
        "folder = Path(sys.argv[1])\n"
        "kept = KeptProcess('thing', ['bash', '-c', sys.argv[2]], env=dict(os.environ), cwd=folder,\n"
        "                   log=folder / 'thing.log', grace_seconds=0.3)\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", owner_script, str(tmp_path), STUBBORN], cwd=ROOT) as owner:
        _wait_for_escaped(tmp_path)
        owner.send_signal(number)
    wait_until(lambda: not _list_strays(tmp_path), "all processes to end", timeout_seconds=10)


def test_nothing_is_left_when_the_keeper_is_killed(tmp_path: Path) -> None:
    with _kept(tmp_path, "echo started; exec sleep 1000") as process:
        wait_until(lambda: "started" in process.read_log(), "its start", timeout_seconds=10)
        parent = psutil.Process(process.pid).parent()
        assert parent is not None
        parent.kill()
        wait_until(lambda: not _list_strays(tmp_path), "all processes to end", timeout_seconds=10)


def test_the_error_of_a_process_that_ended_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with _kept(tmp_path, "seq 100; echo no such table >&2; exit 4") as process:
        wait_until(lambda: process.exit_code is not None, "its end", timeout_seconds=10)
        with pytest.raises(LocalStackError, match=r"thing ended with exit code 4(?s:.*)\n100\nno such table"):
            process.check_runs()


def test_a_port_that_was_taken_meanwhile_is_told_from_other_failures(tmp_path: Path) -> None:
    with _kept(tmp_path, "echo 'OSError: [Errno 98] Address already in use'; exit 1") as process:
        wait_until(lambda: process.exit_code is not None, "its end", timeout_seconds=10)
        with pytest.raises(PortTakenError):
            process.check_runs()


def test_a_program_that_does_not_exist_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="thing could not be started: no-such-program"):
        KeptProcess(
            "thing",
            ["no-such-program"],
            env=dict(os.environ),
            cwd=tmp_path,
            log=tmp_path / "thing.log",
        )
