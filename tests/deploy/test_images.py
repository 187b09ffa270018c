"""No image of this project runs as root."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .support import ROOT


def _is_made(path: Path) -> bool:
    """Environments, caches and the documentation site."""
    return any(part.startswith(".") or part == "build" for part in path.relative_to(ROOT).parts)


DOCKERFILES = sorted(path for path in ROOT.rglob("Dockerfile*") if not _is_made(path))


def _stages(dockerfile: Path) -> list[str]:
    return re.split(r"^FROM ", dockerfile.read_text(), flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_image_ends_with_a_user_that_is_not_root(dockerfile: Path) -> None:
    assert len(DOCKERFILES) == 3
    for stage in _stages(dockerfile):
        users = re.findall(r"^USER (\S+)", stage, re.MULTILINE)
        assert users, "the base image's user is not ours to know"
        assert users[-1].split(":")[0] not in {"0", "root"}
