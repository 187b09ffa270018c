"""Whatever a name is, the pages show it as text and nothing of it becomes markup."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest

from spot_training.dashboard import assets, rendering
from spot_training.dashboard.overview import Filters, Window
from spot_training.domain.lifecycle import Ending
from spot_training.domain.messages import NET_MEANING
from spot_training.domain.records import Price, RecordState, TrainingRecord
from spot_training.sagemaker.console import console_of
from tests.records import make_attempt, make_record

from .hostile import MARKUP, NAMES, hostile_training
from .rendered import overview_page, training_page
from .trainings import BEGAN, training, under_way


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


def test_the_headline_of_the_overview_is_net(tmp_path: Path) -> None:
    """Money for trainings that spot killed is a cost of spot."""
    price = Price(instance_type="ml.m5.xlarge", usd_per_hour=1.0, as_of=BEGAN, source="a test")
    done = make_record(began_at=BEGAN, prices=(price,))
    killed = make_attempt(ending=Ending.OUT_OF_WAIT, billable_seconds=1800)
    failed = replace(done, run_id="2", state=RecordState.FAILED, attempts=(killed,))
    page = " ".join(
        _Reader(overview_page(tmp_path, done, failed, filters=Filters(window=Window.ALL))).text.split()
    )
    assert "Spot saved $0.90 net, 45 % of what on-demand would have cost" in page
    assert NET_MEANING in page
    assert "$0.50 because of spot" in page
    only_killed = overview_page(
        tmp_path / "other", replace(failed, dag_id="other"), filters=Filters(window=Window.ALL)
    )
    assert "Spot lost $0.50 net" in " ".join(_Reader(only_killed).text.split())


def test_an_amount_in_another_currency_is_shown_with_its_code_and_never_added(tmp_path: Path) -> None:
    yuan = Price(instance_type="ml.m5.xlarge", usd_per_hour=2.1, as_of=BEGAN, source="a test", currency="CNY")
    dollar = replace(yuan, usd_per_hour=1.0, currency=None)
    done = make_record(began_at=BEGAN, prices=(dollar,))
    other = replace(done, run_id="2", prices=(yuan,))
    runs = replace(under_way(), prices=(yuan,))
    page = overview_page(tmp_path, done, other, runs, filters=Filters(window=Window.ALL))
    text = " ".join(_Reader(page).text.split())
    assert "Spot saved $1.40 net" in text
    assert not re.search(r"[a-z]\.[A-Z]", text), "a sentence begins after a space"
    assert (
        "In CNY: 1 training was billed CNY 1.26; completed trainings cost CNY 1.26 instead of CNY 4.20"
        in text
    )
    assert [cell for cell in page.split("<td") if 'data-label="Billed"' in cell and "CNY 1.26" in cell]
    assert "CNY 1.26 billed; the same time on demand costs CNY" in " ".join(
        _Reader(training_page(other)).text.split()
    )
    assert "at most CNY" in text, "in the table of what runs now"


def test_without_dollars_the_most_expensive_comes_first_and_no_amount_is_zero_dollars(tmp_path: Path) -> None:
    price = Price(
        instance_type="ml.m5.xlarge", usd_per_hour=2.1, as_of=BEGAN, source="a test", currency="CNY"
    )
    cheap = make_record(began_at=BEGAN, prices=(price,), team="forecasting")
    dear = replace(cheap, run_id="dear", prices=(replace(price, usd_per_hour=21),))
    failed = replace(cheap, run_id="failed", state=RecordState.FAILED)
    page = overview_page(tmp_path, cheap, failed, dear, filters=Filters(window=Window.ALL))
    rows = [cell for cell in page.split("<td") if 'data-label="Billed"' in cell]
    amounts = [found[0] for row in rows if (found := re.findall(r"CNY [\d.]+", row))]
    assert amounts == ["CNY 12.60", "CNY 1.26", "CNY 1.26"]
    assert "$0.00" not in page


def test_test_runs_are_shown_and_left_out_of_the_figures(tmp_path: Path) -> None:
    def page(record: TrainingRecord) -> str:
        whole = overview_page(tmp_path, record, filters=Filters(window=Window.ALL))
        return " ".join(_Reader(whole).text.split())

    tested = make_record(began_at=BEGAN, is_test=True, run_id="tested", prices=())
    alone = page(tested)
    assert "0 of 0 trainings completed" in alone
    assert "The figures do not include 1 test run (airflow dags test, airflow tasks test)." in alone
    assert "· test run" in alone
    assert "test run" in training_page(tested)
    assert "1 of 1 training completed" in page(make_record(began_at=BEGAN))


def test_the_first_training_under_way_is_neither_charted_nor_called_unpriced(tmp_path: Path) -> None:
    """Prices are recorded with the end of a job, and a chart without a bar has only axes."""
    first = overview_page(tmp_path, under_way(), filters=Filters(window=Window.ALL))
    assert "1 training. None can be compared with on-demand yet" in first
    assert "No training can be compared with on-demand yet." in first
    assert 'id="savings-chart"' not in first
    assert "No price in dollars is known" not in first
    done = overview_page(tmp_path, make_record(began_at=BEGAN, prices=()), filters=Filters(window=Window.ALL))
    assert 'id="savings-chart"' in done
    assert "No price in dollars is known" in done


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_no_name_adds_an_element_or_an_attribute_to_the_overview(tmp_path: Path, name: str) -> None:
    def page(text: str) -> _Reader:
        filters = Filters(window=Window.ALL, model=text, team=text, instance_type=text)
        return _Reader(
            overview_page(
                tmp_path / text[:1].encode().hex(), hostile_training(text, dag_id=text), filters=filters
            )
        )

    hostile, plain = page(name), page("z")
    assert hostile.shape == plain.shape
    assert " ".join(name.split()) in " ".join(hostile.text.split())


@pytest.mark.parametrize("is_within_task", [False, True])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_no_name_adds_an_element_or_an_attribute_to_a_training(name: str, is_within_task: bool) -> None:
    def page(text: str) -> _Reader:
        return _Reader(training_page(hostile_training(text, dag_id=text), is_within_task=is_within_task))

    hostile, plain = page(name), page("z")
    assert hostile.shape == plain.shape
    assert " ".join(name.split()) in " ".join(hostile.text.split())


def test_a_problem_is_told_without_markup() -> None:
    page = _Reader(rendering.render("problem.html.j2", status=422, detail=MARKUP, login=None))
    plain = _Reader(rendering.render("problem.html.j2", status=422, detail="z", login=None))
    assert page.shape == plain.shape


def test_nothing_in_a_page_is_inline_or_from_elsewhere(tmp_path: Path) -> None:
    for page in (
        overview_page(tmp_path, training(), filters=Filters(window=Window.ALL)),
        training_page(training()),
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
        (rendering.usd(0.034), "$0.03"),
        (rendering.usd(0.0034), "<$0.01"),
        (rendering.usd(0), "$0.00"),
        (rendering.usd(0.34), "$0.34"),
        (rendering.usd(-1234.5), "−$1,234.50"),
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
    page = _Reader(overview_page(tmp_path, record, filters=Filters(window=Window.ALL)))
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


# Words, marks and links ------------------------------------------------------------------------------

AWS = "https://api.sagemaker.eu-central-1.amazonaws.com"
LOCAL = {"endpoint_url": "http://127.0.0.1:4566", "local_cloud": "local cloud, clock x150"}
FILES = {"checkpoint_uri": "s3://bucket/checkpoints/run", "model_uri": "s3://bucket/models/model.tar.gz"}


def _links(page: str) -> dict[str, str]:
    """The addresses of a page's links, by target and in order."""
    links = [attributes for tag, attributes in _Reader(page).elements if tag == "a"]
    return {link["href"] or "": link.get("target") or "" for link in links}


def test_a_training_links_to_airflow_to_its_jobs_and_to_its_files() -> None:
    record = training(region="eu-central-1", endpoint_url=AWS, **FILES)
    links = _links(training_page(record, console=console_of(AWS, region="eu-central-1")))
    run = "../dags/retrain_flight_delays/runs/manual__2026-03-02T09%3A00%3A00%2B00%3A00"
    of_airflow = {"../dags/retrain_flight_delays", run, f"{run}/tasks/train.train"}
    assert {href for href, target in links.items() if target == "_top"} == of_airflow
    console = "https://console.aws.amazon.com/"
    of_aws = [href for href, target in links.items() if target == "_blank"]
    assert all(href.startswith(console) for href in of_aws)
    for attempt in record.attempts:
        assert f"{console}sagemaker/home?region=eu-central-1#/jobs/{attempt.job_name}" in of_aws
    assert sum("/cloudwatch/" in href for href in of_aws) == 2
    assert sum("/s3/" in href for href in of_aws) == 2


def test_the_metrics_of_a_model_are_on_its_page_and_without_any_there_is_no_section() -> None:
    page = training_page(training(metrics={"validation:auc": 0.93456789, "<b>": 1e-9}))
    assert '<h2 id="metrics-title">Model</h2>' in page
    assert "<dt>validation:auc</dt><dd>0.934568</dd>" in page
    assert "<dt>&lt;b&gt;</dt><dd>1e-09</dd>" in page
    assert "metrics-title" not in training_page(training())


def test_without_a_place_that_a_person_can_open_names_are_only_text() -> None:
    page = training_page(training(endpoint_url="http://local-sagemaker:4566", **FILES))
    assert "_blank" not in _links(page).values()
    assert "s3://bucket/checkpoints/run" in page


def test_a_mapped_task_has_the_address_of_its_own_instance() -> None:
    assert any(
        href.endswith("/tasks/train.train/mapped/3") for href in _links(training_page(training(map_index=3)))
    )


def test_trainings_of_a_local_cloud_are_marked_and_others_are_not(tmp_path: Path) -> None:
    filters = Filters(window=Window.ALL)
    real = (training(), under_way(run_id="another"))
    page = overview_page(tmp_path / "real", *real, filters=filters)
    assert "local cloud" not in page + training_page(training())
    simulated = (training(**LOCAL), under_way(run_id="another", **LOCAL), training(run_id="third"))
    page = overview_page(tmp_path / "simulated", *simulated, filters=filters)
    # One of the two is among those that run as well.
    assert page.count(">local cloud, clock x150<") == 3
    assert "2 trainings ran on a local cloud: their times and costs are simulated." in page
    assert ">local cloud, clock x150<" in training_page(training(**LOCAL))


def test_dates_that_replace_the_window_say_so(tmp_path: Path) -> None:
    day = date(2026, 3, 1)
    said = {
        "from 2026-03-01": Filters(since=day),
        "to 2026-03-01": Filters(until=day),
        "from 2026-03-01 to 2026-03-01": Filters(since=day, until=day),
    }
    for words, filters in said.items():
        text = " ".join(_Reader(overview_page(tmp_path, training(), filters=filters)).text.split())
        assert f"started {words}. These dates replace “Last 30 days”." in text
    assert "replace" not in overview_page(tmp_path, training(), filters=Filters())


def test_the_pages_use_plain_words(tmp_path: Path) -> None:
    overview = overview_page(tmp_path, training(), filters=Filters(window=Window.ALL))
    for words in ("average per training", "Average wait", "Interruptions per 100 h"):
        assert words in overview
    for page in (overview, training_page(training())):
        shown = page.partition('<script type="application/json"')[0]
        assert not any(jargon in shown for jargon in ("Mean", "held", "clean on-demand", "rung"))
