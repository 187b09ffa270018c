"""What all containers of a server share, and who runs their programs."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .isolation import LAUNCHER, can_isolate, can_run, find_program
from .observer import ContainerObserver, NoObserver
from .users import JOB_USER_VARIABLE, JobUserError, User, is_user_chosen, job_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from local_sagemaker.services.logs import MotoLogs
    from local_sagemaker.services.objects import Objects

    from .contract import Host
    from .images import Images, Program

__all__ = ["LAUNCHER", "ContainerContext", "can_isolate"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ContainerContext:
    """What all containers share."""

    objects: Objects
    logs: MotoLogs
    images: Images
    now: Callable[[], datetime]
    endpoint_url: str
    root: Path
    isolate: bool | None = None
    observer: ContainerObserver = field(default_factory=NoObserver)
    marks_uploads: Callable[[str], bool] = lambda job_name: True  # noqa: ARG005
    """whether the scripts of a job see the markers of checkpoint uploads"""

    @cached_property
    def can_isolate(self) -> bool:
        """Whether scripts have private mounts: if the system allows them. Tries it once."""
        if self.isolate is not None:
            return self.isolate
        allows = can_isolate(self.root)
        if not allows:
            log.warning(
                "This system allows no private mounts: scripts find their folders by SAGEMAKER_BASE_DIR, can "
                "reach the files of this server, and may do to the folders themselves what fails on AWS."
            )
        return allows

    def visible_base(self, host: Host) -> str:
        """/opt/ml as the script on the host can name it."""
        return "/opt/ml" if self.can_isolate else str(host.base)

    def user_for(self, job_name: str, program: Program, *, installs: bool) -> User | None:
        """Who runs a job's program outside its container. None is the user of the server.

        If that is root, a job has no power over the machine, unless it cannot run otherwise and the user has
        not chosen. `installs` says that it installs packages into the environment of its interpreter.
        """
        user = job_user() if os.geteuid() == 0 else None
        if user is None:
            return None
        why = self._why_root(program, user, installs=installs)
        if is_user_chosen() and not self.can_isolate:
            raise JobUserError(f"ClientError: {JOB_USER_VARIABLE} is {user.name}, but {why}.")
        if why is None or is_user_chosen():
            return user
        log.warning(
            "%s runs as root, with power over this machine: %s. See %s.", job_name, why, JOB_USER_VARIABLE
        )
        return None

    def _why_root(self, program: Program, user: User, *, installs: bool) -> str | None:
        """Why only root can run a program."""
        path = find_program(program)
        environment = Path(path).parent.parent
        if not self.can_isolate:
            return "jobs have no private mounts here"
        # Outside of a virtual environment, pip installs into the home folder then.
        if installs and (environment / "pyvenv.cfg").exists() and not user.may_write(environment):
            return f"it installs packages into {environment}, which belongs to root"
        return None if self._can_run(program, user) else f"{user.name} cannot run {path}"

    def _can_run(self, program: Program, user: User) -> bool:
        path = find_program(program)
        if path not in self._runnable:
            self._runnable[path] = can_run(self.root, program, user)
        return self._runnable[path]

    @cached_property
    def _runnable(self) -> dict[str, bool]:
        """The programs that were tried."""
        return {}
