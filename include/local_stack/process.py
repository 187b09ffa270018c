"""One long-running process of the stack, with its keeper and its log."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from include.local_stack.errors import LocalStackError, PortTakenError
from include.local_stack.freezing import Frozen
from include.local_stack.keeper import LONG_GRACE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEEPER = Path(__file__).with_name("keeper.py")
PORT_TAKEN = re.compile(r"address already in use", re.IGNORECASE)


class KeptProcess:
    """A command under a keeper. It ends when it is stopped, and at the latest when this process ends.

    Args:
        name: what messages call it.
        command: program and arguments.
        env: its whole environment.
        cwd: its working directory.
        log: the file its output is added to.
        grace_seconds: between SIGTERM and SIGKILL.
        hold_fd: a file descriptor that stays open until everything of this process is gone (a lock).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        grace_seconds: float = 4.0,
        hold_fd: int | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.started_at = time.time()
        self._grace_seconds = grace_seconds
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        self._log_start = log.stat().st_size
        self._keeper = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                str(KEEPER),
                str(os.getpid()),
                str(grace_seconds),
                str(log),
                "--",
                *command,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            pass_fds=() if hold_fd is None else (hold_fd,),
        )
        assert self._keeper.stdout is not None  # noqa: S101 - for the type checker
        line = self._keeper.stdout.readline().decode()
        if not line.startswith("pid "):
            self.kill()
            raise LocalStackError(f"{name} could not be started: {' '.join(command)}{self._describe_log()}")
        self.pid = int(line.split()[1])

    @property
    def exit_code(self) -> int | None:
        """None while it runs. Never negative: a signal counts as 128 + its number."""
        return self._keeper.poll()

    def read_log(self) -> str:
        """What it has written since its start."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def read_last_lines(self, count: int = 25) -> str:
        return "\n".join(self.read_log().splitlines()[-count:])

    def check_runs(self) -> None:
        """Raise with the end of its log if it has ended."""
        code = self.exit_code
        if code is None:
            return
        seconds = time.time() - self.started_at
        error = PortTakenError if PORT_TAKEN.search(self.read_log()) else LocalStackError
        raise error(f"{self.name} ended with exit code {code} after {seconds:.1f} s{self._describe_log()}")

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and SIGKILL after the grace period. Returns at once."""
        if self._keeper.stdin is not None and not self._keeper.stdin.closed:
            self._keeper.stdin.close()

    def stop(self) -> None:
        """Stop it and wait until all its processes have ended."""
        self.ask_to_stop()
        self._wait()

    def stop_patiently(self) -> None:
        """Stop it as a redeployment does, with a grace period of half a minute."""
        self.ask_to_stop_patiently()
        self._wait(LONG_GRACE_SECONDS)

    def ask_to_stop_patiently(self) -> None:
        """Send SIGTERM, and SIGKILL after half a minute. Returns at once."""
        self._order(b"t")

    def kill(self) -> None:
        """SIGKILL it and all its child processes, as if its machine was lost."""
        self._order(b"k")
        self._wait()

    def freeze(self) -> Frozen:
        """SIGSTOP it and all its child processes, as if its machine was paused."""
        return Frozen.below(self._keeper.pid)

    def _order(self, order: bytes) -> None:
        if self._keeper.stdin is not None and not self._keeper.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._keeper.stdin.write(order)
                self._keeper.stdin.close()

    def _wait(self, grace_seconds: float | None = None) -> None:
        try:
            self._keeper.wait((grace_seconds or self._grace_seconds) + 10)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        if self._keeper.stdout is not None:
            self._keeper.stdout.close()

    def _describe_log(self) -> str:
        return f"; the last lines of {self.log}:\n{self.read_last_lines()}"
