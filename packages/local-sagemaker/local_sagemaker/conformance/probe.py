"""The script of the jobs: it reports what a container sees, in `model/report.json` and `model/beats.txt`.

It runs in any image with Python 3.8 and uses only the standard library. It never reports the values of
environment variables that are not the run's own, because credentials may be among them.

The hyperparameter `probe` says what it does: `look` reports and saves checkpoints, `hold` saves one and stays
until it is killed, and `fail` fails. A `hold` that finds its own checkpoint ends at once: it was interrupted.
"""

from __future__ import annotations

import errno
import getpass
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
CONFIG = BASE / "input" / "config"
MODEL = BASE / "model"
OWN_VARIABLES = ("TRAINING_JOB_NAME", "TRAINING_JOB_ARN", "CONFORMANCE_COLOUR")


def read_config() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(CONFIG.glob("*.json"))}


def read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError as error:
        return repr(error)


def name_of_user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return None


def list_tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def look_around(config: dict[str, Any], checkpoints: Path) -> dict[str, Any]:
    return {
        "started_at": time.time(),
        "argv": sys.argv[1:],
        "variables": sorted(os.environ),
        "environment": {name: os.environ.get(name) for name in OWN_VARIABLES},
        "config": config,
        "input": list_tree(BASE / "input"),
        "channel": {
            path.relative_to(BASE / "input" / "data").as_posix(): read_text(path)
            for path in sorted((BASE / "input" / "data" / "train").rglob("*"))
            if path.is_file()
        },
        "restored": list_tree(checkpoints) if checkpoints.is_dir() else None,
        "base": str(BASE),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "user": name_of_user(),
        "cwd": str(Path.cwd()),
        "pid": os.getpid(),
        "first_process": read_text("/proc/1/cmdline").replace("\0", " ").strip(),
        "host": os.uname().nodename,
        "python": sys.version.split()[0],
        "mounts": [
            line.split()[1:3] for line in read_text("/proc/mounts").splitlines() if " /opt/ml" in line
        ],
    }


def error_of(action: Callable[[], Any]) -> str | None:
    """The name of the error that an action ends with, or None."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return None


def try_mounts(folders: dict[str, Path]) -> dict[str, Any]:
    """Remove each folder itself, and rename a file from one to the next. Nothing is lost: none is empty."""
    removed, renamed = {}, {}
    for name, folder in folders.items():
        if not any(folder.iterdir()):
            (folder / "conformance").write_text("not empty")
        removed[name] = error_of(folder.rmdir)
    source = MODEL / "renamed"
    source.write_text("x")
    for name, folder in folders.items():
        target = folder / "renamed.sagemaker-ignore"
        if folder != MODEL:
            renamed[name] = error_of(partial(source.rename, target))
            if renamed[name] is None:
                target.rename(source)
    source.unlink()
    return {"removed": removed, "renamed": renamed}


class Folder:
    """The checkpoint folder, with a record of what came and went in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[list[Any]] = []
        self.names: set[str] = set()

    def watch(self, seconds: float, until: Callable[[set[str]], bool] = lambda _: False) -> bool:
        """Look every 20 ms, for some seconds or until something is so. Whether it was so."""
        last = time.time() + seconds
        while True:
            found = {}
            for path in self.path.rglob("*"):
                try:
                    found[path.relative_to(self.path).as_posix()] = path.stat().st_size
                except OSError:
                    continue
            for name in sorted(set(found) - self.names):
                self.seen.append(["came", name, found[name], time.time()])
            for name in sorted(self.names - set(found)):
                self.seen.append(["went", name, None, time.time()])
            self.names = set(found)
            if until(self.names):
                return True
            if time.time() >= last:
                return False
            time.sleep(0.02)

    def save(self, name: str) -> None:
        """Write a file under another name in the same folder, then rename it. The content says when."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path / "writing.sagemaker-ignore"
        temporary.write_text(json.dumps({"name": name, "at": time.time()}))
        temporary.replace(path)


def save_checkpoints(folder: Folder, pace: float, patience: float) -> dict[str, Any]:
    folder.save("doomed")
    folder.save("sub/deep")
    folder.save("part.tmp")
    (folder.path / "kept.sagemaker-ignore").write_text("x")
    for number in range(1, 5):
        folder.save(f"step-{number}")
        folder.watch(pace)
    wanted = {"doomed.sagemaker-uploaded", "step-4.sagemaker-uploaded"}
    has_markers = folder.watch(patience, until=wanted.issubset)
    (folder.path / "doomed").unlink()
    folder.save("step-4")
    folder.watch(2 * pace)
    return {"has_markers": has_markers, "seen": folder.seen, "deleted_at": time.time()}


def hold(seconds: float) -> None:
    """Note the time until something ends this process."""
    # Not a file object: the handler may run in the middle of another write.
    beats = os.open(MODEL / "beats.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(what: str) -> None:
        os.write(beats, f"{what} {time.time()!r}\n".encode())

    signal.signal(signal.SIGTERM, lambda *_: note("SIGTERM"))
    print("holding", flush=True)
    last = time.time() + seconds
    while time.time() < last:
        note("beat")
        time.sleep(0.1)


def main() -> None:
    config = read_config()
    given = config.get("hyperparameters", {})
    pace, patience = float(given["pace"]), float(given["patience"])
    checkpoints = Path(config.get("checkpointconfig", {}).get("LocalPath", str(BASE / "checkpoints")))
    has_checkpoints = "checkpointconfig" in config
    print("a line on stdout", flush=True)
    print("a line on stderr", file=sys.stderr, flush=True)
    print("conformance: loss=0.25;", flush=True)
    report = look_around(config, checkpoints)
    MODEL.joinpath("report.json").write_text(json.dumps(report))
    if given["probe"] == "fail":
        raise ValueError("no column named delay")
    if given["probe"] == "hold":
        if has_checkpoints and "started" not in report["restored"]:
            Folder(checkpoints).save("started")
        if not has_checkpoints or "started" not in report["restored"]:
            hold(float(given["hold"]))
        return
    folders = {"model": MODEL, "output/data": BASE / "output" / "data"}
    if has_checkpoints:
        folders["checkpoints"] = checkpoints
        report["checkpoints"] = save_checkpoints(Folder(checkpoints), pace, patience)
    channel = BASE / "input" / "data" / "train"
    if channel.is_dir():
        folders["input/data/train"] = channel
    (BASE / "output" / "data" / "metrics.txt").write_text("rmse=1")
    try:
        report["mounts_tried"] = try_mounts(folders)
    except OSError as error:
        report["mounts_tried"] = {"error": repr(error)}
    report["ended_at"] = time.time()
    MODEL.joinpath("report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
