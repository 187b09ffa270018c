"""What all containers of a server share, and whether the system allows them private mounts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .observer import ContainerObserver, NoObserver

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from local_sagemaker.services.logs import MotoLogs
    from local_sagemaker.services.objects import Objects

    from .contract import Host
    from .images import Images

LAUNCHER = Path(__file__).with_name("launcher.py")


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

    @cached_property
    def can_isolate(self) -> bool:
        """Whether the system allows private mounts. Tries it once."""
        return can_isolate(self.root) if self.isolate is None else self.isolate

    def visible_base(self, host: Host) -> str:
        """/opt/ml as the script on the host can name it."""
        return "/opt/ml" if self.can_isolate else str(host.base)


def can_isolate(root: Path) -> bool:
    """Try to start an empty container."""
    folder = Path(tempfile.mkdtemp(prefix="probe-", dir=root))
    try:
        (folder / "base").mkdir()
        (folder / "opt").mkdir()
        spec = {
            "isolate": True,
            "base": str(folder / "base"),
            "stand_in": str(folder / "opt"),
            "hostname": "algo-1",
            "cwd": "/opt/ml",
            "command": [sys.executable, "-I", "-c", ""],
            "env": {},
        }
        (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-I", str(LAUNCHER), str(folder / "spec.json")]
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
