"""The documentation site: it builds without a warning, loads nothing from elsewhere, and its search finds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from .conftest import Built

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = yaml.safe_load((Path(__file__).parent / "questions.yaml").read_text())
#: How many results a person looks at.
FIRST = 2
_LOADED = re.compile(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)"')


def test_the_site_builds_without_a_warning(built_site: Built) -> None:
    """Every link and anchor leads somewhere, and every page is in the navigation (`mkdocs.yml`)."""
    assert built_site.problems == []


def test_there_are_twenty_questions() -> None:
    assert len(QUESTIONS) == 20
    assert len({question["words"] for question in QUESTIONS}) == 20


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["words"])
def test_the_answer_has_the_heading(question: dict[str, str]) -> None:
    text = (ROOT / "docs" / question["page"]).read_text()
    assert re.search(rf"^#+ {re.escape(question['heading'])}$", text, re.MULTILINE)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["words"])
def test_the_search_finds_the_answer_within_two_clicks(browser_page: Any, question: dict[str, str]) -> None:
    """The first click opens a result. If it is not the answer's heading, the second is in its contents."""
    found = _search(browser_page, question["words"])
    assert question["page"].replace(".md", ".html") in found[:FIRST]


def _search(page: Any, words: str) -> list[str]:
    """The pages of the results, in their order. The address types the words, as a shared search does."""
    page.goto(f"{page.url.partition('?')[0]}?{urlencode({'q': words})}")
    page.wait_for_selector(".md-search-result__item", state="attached", timeout=10_000)
    assert page.locator("input.md-search__input").input_value() == words
    links = page.locator(".md-search-result__item").evaluate_all(
        "results => results.map(result => new URL(result.querySelector('a').href).pathname)"
    )
    return [str(link).lstrip("/") for link in links]


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        for found in _LOADED.findall(page.read_text()):
            assert not re.match(r"(https?:)?//", "".join(found)), f"{page.name} loads {found}"


def test_a_link_out_of_docs_leads_to_a_copy(site: Path) -> None:
    page = (site / "helm.html").read_text()
    assert 'href="repository/deploy/helm/values.yaml"' in page
    copy = site / "repository" / "deploy" / "helm" / "values.yaml"
    assert copy.read_text() == (ROOT / "deploy" / "helm" / "values.yaml").read_text()
    changes = (site / "repository" / "CHANGELOG.html").read_text()
    assert 'href="../airflow-versions.html"' in changes


def test_the_api_has_every_argument(site: Path) -> None:
    import inspect

    from spot_training.operators import SpotTrainingOperator

    page = (site / "reference" / "api.html").read_text()
    arguments = set(inspect.signature(inspect.unwrap(SpotTrainingOperator.__init__)).parameters)
    for name in arguments - {"self", "kwargs"}:
        assert f">{name}<" in page, name


def test_no_page_shows_markdown(site: Path) -> None:
    """A list or a block that is indented too little for Python-Markdown, although the repository shows it."""
    for page in site.rglob("*.html"):
        text = re.sub(r"<(pre|code).*?</\1>", "", page.read_text(), flags=re.DOTALL)
        for paragraph in re.findall(r"<p>(.*?)</p>", text, re.DOTALL):
            assert not re.search(r"\n *(-|\d+\.) |\*\*|```|\]\(", paragraph), (
                f"{page.name}: {paragraph[:300]}"
            )
