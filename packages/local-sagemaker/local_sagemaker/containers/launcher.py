"""Becomes the container of one host of a training job, then runs the job's program in it.

    python launcher.py SPEC.json

If the system allows it (root, or user namespaces), the program sees a literal `/opt/ml`, its own host name
and its own process tree. As in Docker it is process 1: a SIGTERM that it does not handle is ignored, and when
it ends, all its child processes end. None of this is visible outside, and nothing is written outside the
job's folder. On other systems it runs as an ordinary process with SAGEMAKER_BASE_DIR, and ignores SIGTERM at
first, with the same effect.

It uses only the standard library and nothing of this project, because it is started by path.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_PR_SET_PDEATHSIG = 1


class NoNamespaceError(OSError):
    """The system does not allow the private mounts."""


def main() -> int:
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    _die_with_parent()
    if spec["isolate"]:
        return _run_isolated(spec)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _become(spec)
    return 127


def _run_isolated(spec: dict[str, Any]) -> int:
    _unshare(_CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWUTS)
    child = os.fork()
    if child == 0:
        try:
            _die_with_parent()
            _mount_all(spec)
            _become(spec)
        except BaseException as exc:  # noqa: BLE001  (this process is the container: nothing else can report it)
            print(f"local SageMaker: cannot start the container: {exc}", flush=True)
        os._exit(127)
    signal.signal(signal.SIGTERM, lambda number, _frame: os.kill(child, number))
    while True:
        try:
            _, status = os.waitpid(child, 0)
            break
        except InterruptedError:
            continue
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(spec: dict[str, Any]) -> None:
    os.chdir(spec["cwd"])
    os.execvpe(spec["command"][0], spec["command"], spec["env"])  # noqa: S606


def _unshare(flags: int) -> None:
    if os.geteuid() == 0:
        _checked(_libc().unshare(flags), "unshare")
        return
    uid, gid = os.geteuid(), os.getegid()
    _checked(_libc().unshare(flags | _CLONE_NEWUSER), "unshare")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")


def _mount_all(spec: dict[str, Any]) -> None:
    """Private mounts: a replacement for /opt with /opt/ml, /proc of the new process tree, /etc/hosts."""
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    base, stand_in = Path(spec["base"]), Path(spec["stand_in"])
    # A copy of /opt made of mounts, so that /opt/ml can exist without a change of the machine's /opt.
    for entry in Path("/opt").iterdir():
        if entry.name != "ml":
            _mirror(entry, stand_in / entry.name)
    (stand_in / "ml").mkdir(exist_ok=True)
    _mount(str(base), str(stand_in / "ml"), None, _MS_BIND | _MS_REC)
    _mount(str(stand_in), "/opt", None, _MS_BIND | _MS_REC)
    _mount("proc", "/proc", "proc", 0)
    if spec.get("hosts_file") and Path("/etc/hosts").exists():
        _mount(spec["hosts_file"], "/etc/hosts", None, _MS_BIND)
    if hasattr(socket, "sethostname"):
        socket.sethostname(spec["hostname"])


def _mirror(entry: Path, at: Path) -> None:
    if entry.is_symlink():
        at.symlink_to(entry.readlink())
    elif entry.is_dir():
        at.mkdir()
        _mount(str(entry), str(at), None, _MS_BIND | _MS_REC)
    else:
        at.touch()
        _mount(str(entry), str(at), None, _MS_BIND)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    encoded = None if kind is None else kind.encode()
    _checked(
        _libc().mount(source.encode(), target.encode(), encoded, ctypes.c_ulong(flags), None),
        f"mount {target}",
    )


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise NoNamespaceError(number, f"{what}: {os.strerror(number)}")


def _die_with_parent() -> None:
    """Linux only: when the server is killed, with any signal, the container is killed, too."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
