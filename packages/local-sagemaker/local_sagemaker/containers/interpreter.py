"""Which Python interpreter runs training scripts by default."""

from __future__ import annotations

import os
from pathlib import Path

PYTHON_VARIABLE = "LOCAL_SAGEMAKER_PYTHON"
HOW_TO_MAKE = (
    "Make an environment with AWS's sagemaker-training and what the script imports (`python -m venv "
    ".venv-training`, then `.venv-training/bin/pip install sagemaker-training`)"
)


def find_interpreter() -> Path:
    """`$LOCAL_SAGEMAKER_PYTHON`, or the interpreter in `.venv-training`, as an absolute path. It need not
    exist.

    Links are not followed: the link is what makes it the interpreter of a virtual environment.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    return Path(named).absolute() if named else _project_folder() / ".venv-training" / "bin" / "python"


def _project_folder() -> Path:
    """The checkout, if this package runs from its source there; else the current folder."""
    source = Path(__file__).resolve().parents[2]
    is_checkout = source.parent.name == "packages" and (source / "pyproject.toml").is_file()
    return source.parents[1] if is_checkout else Path.cwd()
