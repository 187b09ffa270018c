"""The interface for code that observes the containers of script jobs, such as the spot drill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class ContainerObserver(Protocol):
    """Called for each container, from its threads. Methods must return at once and raise nothing."""

    def starting(self, job_name: str, host: str, checkpoints: Path | None) -> None:
        """A container is about to start. `checkpoints` is its checkpoint folder on this machine, already
        restored.
        """

    def wrote(self, job_name: str, host: str, line: str) -> None:
        """The container wrote one line of its log."""

    def ended(self, job_name: str, host: str, exit_code: int | None) -> None:
        """The container has ended. The exit code is None if it was killed. Its last checkpoints are not in S3
        yet.
        """


class NoObserver:
    """Does nothing."""

    def starting(self, job_name: str, host: str, checkpoints: Path | None) -> None:
        pass

    def wrote(self, job_name: str, host: str, line: str) -> None:
        pass

    def ended(self, job_name: str, host: str, exit_code: int | None) -> None:
        pass
