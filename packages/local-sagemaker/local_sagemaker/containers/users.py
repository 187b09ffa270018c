"""Who runs the program of a job, outside its container.

That is the user of the server. If the server runs as root, it is nobody, or the user that
LOCAL_SAGEMAKER_JOB_USER names.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: The name of the user who runs the jobs of a server that runs as root; `root` for root itself.
JOB_USER_VARIABLE = "LOCAL_SAGEMAKER_JOB_USER"


class JobUserError(ValueError):
    """The job cannot have the user that it is to have. The text is the FailureReason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of this machine, with one group."""

    name: str
    uid: int
    gid: int

    def may_write(self, path: Path) -> bool:
        found = path.stat()
        return bool(found.st_mode & (stat.S_IWUSR if found.st_uid == self.uid else stat.S_IWOTH))

    def own(self, folder: Path) -> None:
        """Give a folder and everything in it to this user."""
        for parent, folders, files in os.walk(folder):
            for name in (".", *folders, *files):
                os.chown(os.path.join(parent, name), self.uid, self.gid, follow_symlinks=False)  # noqa: PTH118  (there may be a million files)


def job_user() -> User | None:
    """The user that a server that runs as root gives its jobs. None is root."""
    name = os.environ.get(JOB_USER_VARIABLE) or "nobody"
    try:
        found = pwd.getpwnam(name)
    except KeyError as exc:
        raise JobUserError(
            f"ClientError: This machine has no user {name}: name another in {JOB_USER_VARIABLE}, or root."
        ) from exc
    return User(name=name, uid=found.pw_uid, gid=found.pw_gid) if found.pw_uid else None


def is_user_chosen() -> bool:
    return bool(os.environ.get(JOB_USER_VARIABLE))
