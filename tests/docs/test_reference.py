"""The pages that are made from the code are what the code says now."""

from __future__ import annotations

import pytest

from scripts.docs_reference import PAGES, REFERENCE, make_page


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_current(name: str) -> None:
    path = REFERENCE / name
    assert path.read_text() == make_page(path, PAGES[name]), "run scripts/docs generate"


def test_every_command_of_the_package_is_there() -> None:
    from spot_training.__main__ import COMMANDS

    text = (REFERENCE / "commands.md").read_text()
    assert [name for name in COMMANDS if f"\n## spot-training {name}\n" not in text] == []
