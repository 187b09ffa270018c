"""Runs one command, and ends all its processes when the owner ends. A script for the standard library only.

    python keeper.py OWNER_PID GRACE_SECONDS LOG -- COMMAND...

The keeper prints `pid N` when the command runs. The owner controls it over its standard input: when that
closes, or when the owner is gone, the command gets SIGTERM, and after the grace period all child processes
get SIGKILL. `t` means SIGTERM with a long grace period, as in a redeployment, and `k` SIGKILL at once. As the
reaper of orphans (Linux), the keeper also finds processes that left the command's process group, such as the
tasks of Airflow's executor. When the command ends by itself, its orphans end too, as in a container. The exit
code of the keeper is that of the command.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.1
LONG_GRACE_SECONDS = 30.0


def set_process_option(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def list_descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(entry.parent.name))
    found, rest = [], [root]
    while rest:
        below = children.get(rest.pop(), [])
        found += below
        rest += below
    return found


class Keeper:
    def __init__(self, owner: int, grace_seconds: float, log: str, command: list[str]) -> None:
        self.owner = owner
        self.grace_seconds = grace_seconds
        self.exit_code: int | None = None
        self.must_stop = False
        set_process_option(PR_SET_CHILD_SUBREAPER, 1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._note_signal)
        keeper = os.getpid()

        def die_with_the_keeper() -> None:
            set_process_option(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(1)

        with Path(log).open("ab") as output:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=die_with_the_keeper,  # noqa: PLW1509 - this process has one thread
            )

    def _note_signal(self, _number: int, _frame: object) -> None:
        self.must_stop = True

    def reap(self) -> None:
        """Collect all processes that have ended: the command and orphans."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.child.pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
                self.child.returncode = self.exit_code

    def read_order(self) -> str:
        """`go on`, `stop`, `stop patiently` or `kill`."""
        if self.must_stop or os.getppid() != self.owner:
            return "stop"
        readable, _, _ = select.select([0], [], [], POLL_SECONDS)
        if not readable:
            return "go on"
        return {b"k": "kill", b"t": "stop patiently"}.get(os.read(0, 1), "stop")

    def stop_gently(self, grace_seconds: float) -> None:
        os.kill(self.child.pid, signal.SIGTERM)
        limit = time.monotonic() + grace_seconds
        while self.exit_code is None and time.monotonic() < limit:
            time.sleep(POLL_SECONDS / 2)
            self.reap()

    def kill_everything(self) -> None:
        if self.exit_code is None:
            os.killpg(self.child.pid, signal.SIGKILL)
        while True:
            self.reap()
            alive = list_descendants(os.getpid())
            for pid in alive:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if not alive and self.exit_code is not None:
                return
            time.sleep(0.01)

    def run(self) -> int:
        order = "go on"
        while order == "go on" and self.exit_code is None:
            order = self.read_order()
            self.reap()
        if order != "kill" and self.exit_code is None:
            self.stop_gently(LONG_GRACE_SECONDS if order == "stop patiently" else self.grace_seconds)
        self.kill_everything()
        return self.exit_code or 0


def main(argv: list[str]) -> int:
    owner, grace_seconds, log, _, *command = argv
    keeper = Keeper(int(owner), float(grace_seconds), log, command)
    sys.stdout.write(f"pid {keeper.child.pid}\n")
    sys.stdout.flush()
    code = keeper.run()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
