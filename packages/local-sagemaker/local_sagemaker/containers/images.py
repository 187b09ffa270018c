"""Which program runs in place of a training image (`images.yaml`), because no Docker is used."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .interpreter import HOW_TO_MAKE, PYTHON_VARIABLE, find_interpreter

if TYPE_CHECKING:
    from local_sagemaker.jobs.job import TrainingJob

#: AWS's framework containers for PyTorch, TensorFlow and Hugging Face, in any registry. They run the toolkit
#: so that a failure has the script's own words. The toolkit by itself does not do that, nor do the containers
#: for XGBoost and scikit-learn. Source: `training.py` of the aws/sagemaker-*-training-toolkit repositories.
_FRAMEWORK_IMAGE = re.compile(
    r"(.+/)?((huggingface-)?(pytorch|tensorflow)(-trcomp)?-training(-\w+)*|sagemaker-pytorch"
    r"|sagemaker-tensorflow-scriptmode)([:@].*)?"
)
_TRAIN = ("-m", "sagemaker_training.cli.train")
_CAPTURING = """\
import functools
from sagemaker_training import entry_point, trainer
entry_point.run = functools.partial(entry_point.run, capture_error=True)
trainer.train()
"""
#: The same as those containers run it. Not a file: its folder would be on the script's path.
_CAPTURING_TRAIN = ("-c", _CAPTURING)
DEFAULT_IMAGES = Path(__file__).parent / "images.yaml"


class ImagesFileError(ValueError):
    """An image file that cannot be used. The text names the file, the entry and what to give instead."""


class UnmappedImageError(LookupError):
    """No program is mapped to the job's image. The text is the FailureReason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run for a job. `command` is complete, and `bin_folder` goes first on PATH."""

    command: tuple[str, ...]
    bin_folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRule:
    """One entry of the image file."""

    pattern: str
    python: str | None = None
    command: tuple[str, ...] = ()
    capture_error: bool | None = None
    """whether a failure has the script's own words; None: if the image is one of a framework container"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The mapping, and the file to change it in."""

    file: Path
    rules: tuple[ImageRule, ...]

    def program_for(self, job: TrainingJob) -> Program:
        """The program of a job's container. Raises `UnmappedImageError`, which says what to do."""
        rule = next((r for r in self.rules if fnmatch.fnmatchcase(job.training_image, r.pattern)), None)
        algorithm = job.request.get("AlgorithmSpecification") or {}
        entrypoint = (
            *(algorithm.get("ContainerEntrypoint") or ()),
            *(algorithm.get("ContainerArguments") or ()),
        )
        has_script = "sagemaker_program" in job.hyperparameters
        if rule is None and not has_script and not entrypoint:
            raise UnmappedImageError(self._how_to_map(job))
        if rule is not None and rule.command and not entrypoint:
            return Program(command=rule.command)
        python = _interpreter(rule.python if rule and rule.python else f"${{{PYTHON_VARIABLE}}}")
        if algorithm.get("ContainerEntrypoint"):
            return Program(command=entrypoint, bin_folder=str(Path(python).parent))
        if not has_script:
            raise UnmappedImageError(
                f"ClientError: The local SageMaker runs scripts, not built-in algorithms: the job with image "
                f"{job.training_image} has no hyperparameter sagemaker_program. Give it a script (script "
                f"mode), or map the image to a `command` in {self.file} (see --images), or simulate the job "
                "with Environment LOCAL_TRAINING_SECONDS."
            )
        captures = rule.capture_error if rule else None
        if captures is None:
            captures = _FRAMEWORK_IMAGE.fullmatch(job.training_image) is not None
        train = _CAPTURING_TRAIN if captures else _TRAIN
        return Program(command=(python, *train), bin_folder=str(Path(python).parent))

    def _how_to_map(self, job: TrainingJob) -> str:
        return (
            f"ClientError: No program is mapped to the image {job.training_image or '(none)'}: the local "
            f"SageMaker does not use Docker. Map it in {self.file} (`- image: PATTERN` with `python:` or "
            "`command:`; see --images), or give the job a script (hyperparameters sagemaker_program and "
            "sagemaker_submit_directory), or simulate it with Environment LOCAL_TRAINING_SECONDS."
        )


def load_images(path: str | None = None) -> Images:
    """Read an image file, or the shipped one."""
    file = Path(path) if path else DEFAULT_IMAGES
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ImagesFileError(f"{file}: cannot be read as YAML: {exc}") from exc
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ImagesFileError(
            f"{file}: give `images:` with a list of entries (image, and python or command)."
        )
    return Images(file=file, rules=tuple(_rule(file, index, entry) for index, entry in enumerate(entries)))


def _rule(file: Path, index: int, entry: Any) -> ImageRule:
    where = f"{file}: images[{index}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise ImagesFileError(f"{where} is {entry!r}: give `image: PATTERN`.")
    unknown = set(entry) - {"image", "python", "command", "capture_error"}
    if unknown or ("python" in entry) == ("command" in entry):
        raise ImagesFileError(
            f"{where} is {entry!r}: give `image` and either `python` or `command`, nothing else but "
            "`capture_error`."
        )
    capture_error = entry.get("capture_error")
    if capture_error is not None and ("command" in entry or not isinstance(capture_error, bool)):
        raise ImagesFileError(f"{where} is {entry!r}: `capture_error` is true or false, and needs `python`.")
    command = entry.get("command", [])
    if not isinstance(command, list):
        raise ImagesFileError(f"{where}.command is {command!r}: give a list, the program first.")
    return ImageRule(
        pattern=entry["image"],
        python=entry.get("python"),
        command=tuple(str(part) for part in command),
        capture_error=capture_error,
    )


def _interpreter(python: str) -> str:
    chosen = python.replace(f"${{{PYTHON_VARIABLE}}}", str(find_interpreter()))
    if not Path(chosen).exists():
        raise UnmappedImageError(
            f"ClientError: The interpreter {chosen} does not exist. {HOW_TO_MAKE}, or name the interpreter "
            f"of one in the variable {PYTHON_VARIABLE} or in an image file (--images)."
        )
    return chosen
