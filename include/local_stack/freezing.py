"""Processes that are paused for a while, as on a paused machine or in a starved container."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from include.local_stack.keeper import list_descendants


@dataclass(slots=True)
class Frozen:
    """Processes that got SIGSTOP and do nothing until `thaw` sends SIGCONT. Only SIGKILL ends them."""

    pids: list[int]

    @classmethod
    def below(cls, root: int) -> Self:
        """Freeze all child processes of a process, but not the process itself."""
        frozen = cls(pids=[])
        # Parents come first. One that was still running may have forked in the meantime.
        while new := [pid for pid in list_descendants(root) if pid not in frozen.pids]:
            for pid in new:
                frozen._stop(pid)
        return frozen

    @classmethod
    def of(cls, *pids: int) -> Self:
        """Freeze these processes, but not their child processes."""
        frozen = cls(pids=[])
        for pid in pids:
            frozen._stop(pid)
        return frozen

    def _stop(self, pid: int) -> None:
        self.pids.append(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue those that still exist."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def pids_of_tasks(*schedulers: int) -> list[int]:
    """The running tasks and their supervisors, which Airflow's process names show."""
    workers = [
        pid
        for scheduler in schedulers
        for pid in list_descendants(scheduler)
        if "LocalExecutor: " in (title := _title_of(pid)) and "<idle>" not in title
    ]
    return [*workers, *itertools.chain(*map(list_descendants, workers))]


def _title_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""
