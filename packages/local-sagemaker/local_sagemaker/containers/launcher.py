"""Becomes the container of one host of a training job, then runs the job's program in it.

    python launcher.py SPEC.json

If the system allows it (root, or user namespaces), the program sees a literal `/opt/ml` with the volumes that
SageMaker mounts there, its own /tmp, home folder, shared memory, host name and process tree, and no file of
the server. It seems to be root, as in a container of SageMaker, with the capabilities that Docker gives.
Outside, it is the user of the server or, if that is root, another user. As in Docker it is process 1: a
SIGTERM that it does not handle is ignored, and when it ends, all its child processes end. On other systems it
runs as an ordinary process with SAGEMAKER_BASE_DIR, and ignores SIGTERM at first, with the same effect.

It uses only the standard library and nothing of this project, because it is started by path.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
#: The capabilities that Docker leaves to root in a container: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL,
#: SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP. Without
#: SYS_ADMIN, no program can remove the mounts made here.
_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})


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
    private = _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWUTS | _CLONE_NEWIPC
    if os.geteuid() == 0:
        _unshare(private)
    else:
        _unshare_as_root(private)
    child = os.fork()
    if child == 0:
        try:
            _die_with_parent()
            _mount_all(spec)
            _give_up_power(spec["user"])
            _die_with_parent()  # again, because a change of user ends it
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


# --- mounts ---


def _mount_all(spec: dict[str, Any]) -> None:
    """What is in the job's folder is mounted first, because the new /tmp may hide this folder."""
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    # A copy of /opt made of mounts, so that /opt/ml can exist without a change of the machine's /opt.
    others = [entry.name for entry in Path("/opt").iterdir() if entry.name != "ml"]
    _replace("/opt", spec["stand_in"], keep=others)
    Path("/opt/ml").mkdir(exist_ok=True)
    _mount(spec["base"], "/opt/ml", None, _MS_BIND)
    for volume in spec["volumes"]:
        _mount(f"{spec['base']}/{volume}", f"/opt/ml/{volume}", None, _MS_BIND)
    if spec.get("hosts_file") and Path("/etc/hosts").exists():
        _mount(spec["hosts_file"], "/etc/hosts", None, _MS_BIND)
    needed = spec["needed"]
    _replace("/root", spec["home"], keep=_names_in("/root", needed))
    _replace("/tmp", spec["tmp"], keep=_names_in("/tmp", needed))  # noqa: S108
    if spec["user"]:
        _open_ways(needed, spec["user"])
    if Path(spec["hidden"]).exists():  # not if it was in /tmp
        _mount("tmpfs", spec["hidden"], "tmpfs", _MS_RDONLY)
    if Path("/dev/shm").is_dir():  # noqa: S108
        _mount("tmpfs", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV)  # noqa: S108
    _mount("proc", "/proc", "proc", 0)
    if hasattr(socket, "sethostname"):
        socket.sethostname(spec["hostname"])


def _replace(folder: str, source: str | None, *, keep: Iterable[str]) -> None:
    """Mount another folder, or an empty one, on a folder. Only some of the old entries stay visible."""
    old = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    if source is None:
        _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    else:
        _mount(source, folder, None, _MS_BIND)
    for name in keep:
        _mirror(Path(f"/proc/self/fd/{old}", name), Path(folder, name))
    os.close(old)


def _mirror(entry: Path, at: Path) -> None:
    if entry.is_symlink():
        at.symlink_to(entry.readlink())
    elif entry.is_dir():
        at.mkdir(exist_ok=True)
        _mount(str(entry), str(at), None, _MS_BIND | _MS_REC)
    elif entry.exists():
        at.touch()
        _mount(str(entry), str(at), None, _MS_BIND)


def _names_in(folder: str, paths: Iterable[str]) -> set[str]:
    """What the paths need of a folder."""
    inside = (Path(path).relative_to(folder).parts for path in paths if path.startswith(f"{folder}/"))
    return {parts[0] for parts in inside}


def _open_ways(needed: list[str], user: list[int]) -> None:
    """Replace the folders on the way to the paths that the user may not enter, such as /root."""
    for path in needed:
        for folder in map(str, reversed(Path(path).parents)):
            try:
                found = Path(folder).stat()
            except OSError:
                break
            way = stat.S_IXUSR if found.st_uid == user[0] else stat.S_IXOTH
            if not found.st_mode & way:
                _replace(folder, None, keep=_names_in(folder, needed))


# --- users ---


def _give_up_power(user: list[int] | None) -> None:
    """Keep no more than Docker gives to a container. The user becomes root in it, without power outside."""
    _drop_capabilities()
    if user is None:
        return
    uid, gid = user
    for number in (1, 2):
        if stat.S_ISFIFO(os.fstat(number).st_mode):  # so that the program can open /dev/stdout
            os.fchown(number, uid, gid)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # so that /proc/self belongs to the user
    with contextlib.suppress(OSError):  # without user namespaces, the program sees the user as it is
        _unshare_as_root(0)
    _drop_capabilities()  # again, because a new user namespace has them all


def _drop_capabilities() -> None:
    for number in range(64):
        if number not in _CAPABILITIES:
            _libc().prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)


def _unshare_as_root(flags: int) -> None:
    """Become root in a new user namespace, with power over nothing outside."""
    uid, gid = os.geteuid(), os.getegid()
    _unshare(flags | _CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")


def _unshare(flags: int) -> None:
    _checked(_libc().unshare(flags), "unshare")


# --- the C library ---


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind, data)]
    _checked(_libc().mount(*texts[:3], ctypes.c_ulong(flags), texts[3]), f"mount {target}")


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
