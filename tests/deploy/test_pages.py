"""The pages about the files in deploy/: docs/mwaa.md, docs/astronomer.md and docs/helm.md."""

from __future__ import annotations

import re

import pytest

from .support import DEPLOY, ROOT, is_option

PAGES = {
    folder: (ROOT / "docs" / page).read_text()
    for folder, page in {"mwaa": "mwaa.md", "astro": "astronomer.md", "helm": "helm.md"}.items()
}


@pytest.mark.parametrize("folder", PAGES)
def test_a_page_names_every_file_of_its_folder(folder: str) -> None:
    for path in (DEPLOY / folder).iterdir():
        assert path.name in PAGES[folder] or path.name == "__pycache__", path.name


@pytest.mark.parametrize("folder", PAGES)
def test_a_page_says_what_was_tried_and_what_was_not(folder: str) -> None:
    _, tried = PAGES[folder].split("\n## What was tried\n")
    assert re.search(r"^\| tried \| how \|$", tried, re.MULTILINE)
    assert re.search(r"^Not tried: ", tried, re.MULTILINE)


@pytest.mark.parametrize("folder", PAGES)
def test_every_setting_that_a_page_names_is_there(folder: str) -> None:
    text = PAGES[folder]
    named = re.findall(r"`(spot_training|triggerer)\.([a-z_]+)`", text)
    variables = re.findall(r"AIRFLOW__(SPOT_TRAINING)__([A-Z_]+)", text)
    assert named or variables
    for section, option in [*named, *variables]:
        assert is_option(section.lower(), option.lower()), (section, option)
