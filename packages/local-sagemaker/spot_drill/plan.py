"""What a drill runs and expects: one checked value, read from text."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local_sagemaker import HOW_TO_MAKE, PYTHON_VARIABLE

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>%|ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
#: AWS's pattern for the name of a channel.
_CHANNEL_NAME = re.compile(r"[A-Za-z0-9.\-_]{1,64}")

DEFAULT_IMAGE = "local/spot-drill:1"
DEFAULT_TIMEOUT_SECONDS = 3600.0


class BadPlanError(ValueError):
    """The drill cannot be done. The text names the problem, and what to give instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A point in a run, or a duration: a share of the uninterrupted training time, or seconds."""

    share: float | None = None
    seconds: float | None = None

    def of(self, whole_seconds: float) -> float:
        """In seconds, for a run of `whole_seconds`."""
        return self.share * whole_seconds if self.share is not None else self.seconds or 0.0

    def __str__(self) -> str:
        return f"{self.share * 100:g}%" if self.share is not None else f"{self.seconds:g}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a drill needs. Paths exist, and the interpreter has AWS's toolkit."""

    source: Path
    entry_point: str
    python: Path
    channels: Mapping[str, Path]
    hyperparameters: Mapping[str, str]
    interrupt_at: tuple[Moment, ...]
    checkpoint_every: Moment | None = None
    grace: Moment | None = None
    image: str = DEFAULT_IMAGE
    compare: str | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    def grace_seconds(self, whole_seconds: float) -> float:
        """The time from SIGTERM to SIGKILL: two minutes as on AWS, or a tenth of the run if that is less."""
        return self.grace.of(whole_seconds) if self.grace else min(120.0, 0.1 * whole_seconds)


def read_moment(text: str, option: str) -> Moment:
    """`30%`, `500ms`, `20s`, `5m`, `1h`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadPlanError(f"{option} is {text!r}: give a share such as 30% or a time such as 20s, 5m or 1h.")
    number = float(match["number"])
    if match["unit"] != "%":
        return Moment(seconds=number * _SECONDS[match["unit"]])
    if not 0 < number < 100:
        raise BadPlanError(f"{option} is {text!r}: give a share above 0% and below 100%.")
    return Moment(share=number / 100)


def read_seconds(text: str, option: str) -> float:
    """`20s`, `5m`, `1h`."""
    moment = read_moment(text, option)
    if not moment.seconds:
        raise BadPlanError(f"{option} is {text!r}: give a time above zero, such as 90s, 5m or 1h.")
    return moment.seconds


def read_hyperparameters(pairs: Iterable[str]) -> dict[str, str]:
    """`["eta=0.1"]` as `{"eta": "0.1"}`."""
    read: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise BadPlanError(f"--hyperparameter is {pair!r}: give NAME=VALUE, such as epochs=10.")
        read[name] = value
    return read


def find_script(path: Path, entry_point: str | None) -> tuple[Path, str]:
    """The file or folder to upload, and the name of the script in it."""
    if path.is_file():
        if entry_point is not None:
            raise BadPlanError(f"--entry-point {entry_point} is for a folder, and {path} is a file.")
        return path.resolve(), path.name
    if not path.is_dir():
        raise BadPlanError(f"There is no {path}: give the training script, or its folder with --entry-point.")
    name = entry_point or "train.py"
    if not (path / name).is_file():
        raise BadPlanError(f"The folder {path} has no {name}: name the script in it with --entry-point.")
    return path.resolve(), name


def find_channels(folder: Path | None) -> dict[str, Path]:
    """Each subfolder is a channel. A folder without subfolders, or a file, is the channel `train`."""
    if folder is None:
        return {}
    if not folder.exists():
        raise BadPlanError(f"--data {folder} does not exist: give a folder with a folder for each channel.")
    below = sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    channels = {entry.name: entry.resolve() for entry in below if not entry.name.startswith(".")}
    for name in channels:
        if not _CHANNEL_NAME.fullmatch(name):
            raise BadPlanError(
                f"The folder {name} in --data {folder} cannot name a channel: use letters, digits, . - and _."
            )
    return channels or {"train": folder.resolve()}


def check_python(python: Path) -> Path:
    """Check that the interpreter can run scripts as AWS does."""
    if not python.exists():
        raise BadPlanError(
            f"--python {python} does not exist. {HOW_TO_MAKE}, or name another interpreter with --python or "
            f"in the variable {PYTHON_VARIABLE}."
        )
    try:
        done = subprocess.run(
            [str(python), "-c", "import sagemaker_training"], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise BadPlanError(f"--python {python} cannot be run: {exc}.") from exc
    if done.returncode != 0:
        raise BadPlanError(
            f"--python {python} has no sagemaker_training. Install AWS's sagemaker-training there, or name "
            f"another interpreter with --python or in the variable {PYTHON_VARIABLE}."
        )
    return python
