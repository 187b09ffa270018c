"""Containers with private mounts: what the launcher is given, and whether the system allows them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .written import remove

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .images import Program
    from .users import User

LAUNCHER = Path(__file__).with_name("launcher.py")
#: What a container's folder has for it, apart from /opt/ml: its /opt, /tmp and home folder.
_FOLDERS = {"stand_in": "opt", "tmp": "tmp", "home": "home"}


def make_folders(folder: Path) -> None:
    for name in _FOLDERS.values():
        (folder / name).mkdir()


def launch_spec(
    folder: Path,
    *,
    root: Path,
    volumes: Sequence[str] = (),
    needed: Iterable[str] = (),
    user: User | None = None,
) -> dict[str, Any]:
    """The private mounts of the container in a folder.

    `root` is the server's folder, which the program does not see. `volumes` are the folders in /opt/ml that
    are mounts themselves. `needed` are paths that the program needs also if they are in /tmp or in /root.
    """
    return {
        "isolate": True,
        "base": str(folder / "ml"),
        **{key: str(folder / name) for key, name in _FOLDERS.items()},
        "hidden": str(root),
        "volumes": list(volumes),
        "needed": list(needed),
        "user": None if user is None else [user.uid, user.gid],
        "hostname": "algo-1",
        "cwd": "/opt/ml",
    }


def find_program(program: Program) -> str:
    """The path of what is run first."""
    first = program.command[0]
    path = os.pathsep.join(filter(None, (program.bin_folder, os.environ.get("PATH", os.defpath))))
    return shutil.which(first, path=path) or first


def paths_of(program: Program) -> list[str]:
    """All paths needed to run a program: a virtual environment has links to an interpreter elsewhere."""
    words = [find_program(program), *program.command]
    if program.bin_folder:
        words += [f"{program.bin_folder}/python", *_home_of(Path(program.bin_folder).parent)]
    paths = [word for word in words if word.startswith("/") and os.path.exists(word)]  # noqa: PTH110  (a word may be a whole script)
    return list(dict.fromkeys(step for path in paths for step in (path, *_steps_of(path))))


def _home_of(environment: Path) -> list[str]:
    """Where a virtual environment says that its interpreter comes from. It may be a copy."""
    try:
        return re.findall(r"^home\s*=\s*(.+?)\s*$", (environment / "pyvenv.cfg").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return []


def _steps_of(path: str) -> Iterator[str]:
    """Where the links are on the way to a path, and where it leads."""
    left, place = path.split("/"), Path("/")
    while left:
        step = Path(os.path.normpath(place / left.pop(0)))
        if step.is_symlink():
            yield str(step)
            left = [*str(step.parent / step.readlink()).split("/"), *left]
            step = Path("/")
        place = step
    yield str(place)


def can_isolate(root: Path) -> bool:
    """Try to start an empty container."""
    return _can_start(root, ["/bin/sh", "-c", ":"])


def can_run(root: Path, program: Program, user: User) -> bool:
    """Whether a user can run a program in a container."""
    command = ["/bin/sh", "-c", 'test -x "$0"', find_program(program)]
    return _can_start(root, command, needed=paths_of(program), user=user)


def _can_start(
    root: Path, command: Sequence[str], *, needed: Iterable[str] = (), user: User | None = None
) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="probe-", dir=root))
    try:
        (folder / "ml").mkdir()
        make_folders(folder)
        spec = launch_spec(folder, root=root, needed=needed, user=user) | {"command": command, "env": {}}
        if user is not None:
            user.own(folder)
        (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        launch = [sys.executable, "-I", str(LAUNCHER), str(folder / "spec.json")]
        return subprocess.run(launch, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        remove(folder)
