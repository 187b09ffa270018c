"""Whatever a name is, the pages show it as text and nothing of it becomes markup."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fsspec
import pytest

from spot_training.dashboard import assets, rendering
from spot_training.dashboard.overview import (
    PAGE_ROWS,
    Filters,
    Order,
    Window,
    choices,
    overview_of,
)
from spot_training.dashboard.source import Source
from spot_training.dashboard.timeline import timeline_of
from spot_training.domain.lifecycle import Ending
from spot_training.domain.messages import NET_MEANING
from spot_training.domain.records import Price, RecordState
from spot_training.ledger import Ledger, Selection
from tests.records import make_attempt, make_record

from .hostile import MARKUP, NAMES, hostile_training
from .trainings import BEGAN, training

NOW = BEGAN + timedelta(days=1)


class _Reader(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def shape(self) -> list[tuple[str, list[str]]]:
        """What is there apart from any value: the elements and the names of their attributes."""
        return [(tag, sorted(attributes)) for tag, attributes in self.elements]


def _overview_page(folder: Path, record: Any, filters: Filters) -> str:
    ledger = Ledger(fsspec.filesystem("file"), str(folder))
    ledger.write(record)
    dags = Selection(dag_ids=(record.dag_id,))
    with Source(lambda: ledger).view() as reader:
        overview = overview_of(reader, filters.selection(dags, now=NOW))
        offered = choices(reader, dags)
    return rendering.render(
        "overview.html.j2",
        overview=overview,
        choices=offered,
        filters=filters,
        windows=Window,
        orders=Order,
        order=Order.COST,
        page=1,
        page_rows=PAGE_ROWS,
    )


def test_the_headline_of_the_overview_is_net(tmp_path: Path) -> None:
    """Money for trainings that spot killed is a cost of spot."""
    price = Price(instance_type="ml.m5.xlarge", usd_per_hour=1.0, as_of=BEGAN, source="a test")
    done = make_record(began_at=BEGAN, prices=(price,))
    killed = make_attempt(ending=Ending.OUT_OF_WAIT, billable_seconds=1800)
    failed = replace(done, run_id="2", state=RecordState.FAILED, attempts=(killed,))
    Ledger(fsspec.filesystem("file"), str(tmp_path)).write(failed)
    page = " ".join(_Reader(_overview_page(tmp_path, done, Filters(window=Window.ALL))).text.split())
    assert "Spot saved $0.90 net, 45 % of what on-demand would have cost" in page
    assert NET_MEANING in page
    assert "$0.50 because of spot" in page
    only_killed = _overview_page(
        tmp_path / "other", replace(failed, dag_id="other"), Filters(window=Window.ALL)
    )
    assert "Spot lost $0.50 net" in " ".join(_Reader(only_killed).text.split())


def _training_page(record: Any, *, is_within_task: bool = False) -> str:
    task = {name: getattr(record, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
    timeline = timeline_of(record, now=NOW)
    return rendering.render(
        "training.html.j2", timeline=timeline, left_out=(), task=task, is_within_task=is_within_task
    )


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_no_name_adds_an_element_or_an_attribute_to_the_overview(tmp_path: Path, name: str) -> None:
    def page(text: str) -> _Reader:
        filters = Filters(window=Window.ALL, model=text, team=text, instance_type=text)
        return _Reader(
            _overview_page(tmp_path / text[:1].encode().hex(), hostile_training(text, dag_id=text), filters)
        )

    hostile, plain = page(name), page("z")
    assert hostile.shape == plain.shape
    assert " ".join(name.split()) in " ".join(hostile.text.split())


@pytest.mark.parametrize("is_within_task", [False, True])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_no_name_adds_an_element_or_an_attribute_to_a_training(name: str, is_within_task: bool) -> None:
    def page(text: str) -> _Reader:
        return _Reader(_training_page(hostile_training(text, dag_id=text), is_within_task=is_within_task))

    hostile, plain = page(name), page("z")
    assert hostile.shape == plain.shape
    assert " ".join(name.split()) in " ".join(hostile.text.split())


def test_a_problem_is_told_without_markup() -> None:
    page = _Reader(rendering.render("problem.html.j2", status=422, detail=MARKUP, login=None))
    plain = _Reader(rendering.render("problem.html.j2", status=422, detail="z", login=None))
    assert page.shape == plain.shape


def test_nothing_in_a_page_is_inline_or_from_elsewhere(tmp_path: Path) -> None:
    for page in (
        _overview_page(tmp_path, training(), Filters(window=Window.ALL)),
        _training_page(training()),
    ):
        for tag, attributes in _Reader(page).elements:
            assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
            assert tag != "style"
            if tag == "script":
                assert (attributes.get("src") or "").startswith("static/") or attributes[
                    "type"
                ] == "application/json"
            for name in ("href", "src", "action"):
                address = attributes.get(name)
                assert address is None or not address.startswith(("/", "http", "javascript")), address


def test_files_are_named_after_their_content_and_hold_no_address() -> None:
    assert assets.CHARTS in assets.names()
    for name in assets.names():
        if name == assets.CHARTS:
            continue
        content = assets.read(name).content.decode()
        addresses = [word for word in content.split() if "://" in word]
        known = ("http://www.w3.org/2000/svg", "https://vega.github.io/schema/vega-lite/")
        assert all(any(one in word for one in known) for word in addresses), addresses


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (rendering.usd(0.034), "$0.0340"),
        (rendering.usd(0), "$0.00"),
        (rendering.usd(0.34), "$0.34"),
        (rendering.usd(-1234.5), "−$1,234"),
        (rendering.usd(None), "–"),
        (rendering.hours(0.256), "0.26 h"),
        (rendering.hours(12.34), "12.3 h"),
        (rendering.hours(12345.6), "12,346 h"),
        (rendering.percent(-7.6), "−8 %"),
        (rendering.moment(BEGAN), "2026-03-02 09:00:00"),
        (rendering.query(a="x y&z", b=None, c="", d=1), "a=x+y%26z&d=1"),
    ],
)
def test_figures_are_shown_with_as_many_digits_as_matter(shown: str, words: str) -> None:
    assert shown == words


def test_files_of_the_ledger_that_cannot_be_read_are_named_as_text(tmp_path: Path) -> None:
    record = training()
    torn = tmp_path / "fresh" / f"{'0' * 32}.{1:020d}.json"
    torn.parent.mkdir()
    torn.write_text(f"{{{MARKUP}")
    page = _Reader(_overview_page(tmp_path, record, Filters(window=Window.ALL)))
    assert ("section", ["aria-labelledby", "class", "role"]) in page.shape
    assert "The figures may be incomplete" in page.text
    assert f"fresh/{torn.name} cannot be read and is left out" in page.text
    assert "1 of 1 training completed" in " ".join(page.text.split())


def test_a_training_of_which_the_record_cannot_be_read_says_so() -> None:
    task = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}
    page = _Reader(
        rendering.render(
            "training.html.j2",
            timeline=None,
            left_out=(f"fresh/x: {MARKUP}",),
            task=task,
            is_within_task=False,
        )
    )
    assert "This training's record cannot be read" in page.text
    assert MARKUP in page.text
    assert "There is no record of a training of this task" not in page.text
