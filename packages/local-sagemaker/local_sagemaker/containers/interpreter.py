"""Which Python runs training scripts when nobody names one."""

from __future__ import annotations

import os
from pathlib import Path

PYTHON_VARIABLE = "LOCAL_SAGEMAKER_PYTHON"
HOW_TO_MAKE = (
    "Make an environment with AWS's sagemaker-training and what the script imports (`python -m venv "
    ".venv-training`, then `.venv-training/bin/pip install sagemaker-training`)"
)


def find_interpreter() -> Path:
    """`$LOCAL_SAGEMAKER_PYTHON`, or that of `.venv-training`; absolute. It need not exist.

    Links are not followed: they make an environment one.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    return Path(named).absolute() if named else _project_folder() / ".venv-training" / "bin" / "python"


def _project_folder() -> Path:
    """The checkout, if this package runs from its source there, else the current folder."""
    source = Path(__file__).resolve().parents[2]
    is_checkout = source.parent.name == "packages" and (source / "pyproject.toml").is_file()
    return source.parents[1] if is_checkout else Path.cwd()
