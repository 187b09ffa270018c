"""The Grafana dashboard and the alerts of the docs ask for metrics and tags that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from spot_training import metrics
from spot_training.metrics import METRICS, Metric
from tests.cloud import ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "spot-training.json"
REFERENCE = ROOT / "docs" / "reference" / "metrics.md"
#: A metric of ours in an expression, and what is selected.
ASKED = re.compile(r"airflow_spot_training_(\w+)(\{[^}]*\})?")


def _exported(metric: Metric) -> list[str]:
    """How statsd_exporter names it without a mapping file. A timer is a summary."""
    suffixes = ("_sum", "_count") if isinstance(metric, metrics.Timer) else ("",)
    return [f"{metric.name}{suffix}" for suffix in suffixes]


EXPORTED = {name: metric for metric in METRICS for name in _exported(metric)}


def _panels() -> list[Any]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def _expressions() -> Iterator[str]:
    for panel in _panels():
        yield from (target["expr"] for target in panel["targets"])
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    yield from re.findall(r"\| `([^`]*airflow_spot[^`]*)` \|", REFERENCE.read_text())


@pytest.mark.parametrize("expression", sorted(set(_expressions())))
def test_an_expression_asks_for_metrics_and_tags_that_there_are(expression: str) -> None:
    asked = ASKED.findall(expression)
    assert asked
    assert expression.count("(") == expression.count(")")
    grouped = {name.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for name in by.split(",")}
    for name, selected in asked:
        assert grouped | set(re.findall(r"(\w+)=", selected)) <= set(EXPORTED[name].tags)


def test_the_dashboard_shows_every_metric() -> None:
    shown = {EXPORTED[name].name for expression in _expressions() for name, _ in ASKED.findall(expression)}
    assert {metric.name for metric in METRICS} - shown == set()


def test_panels_have_titles_places_and_one_source() -> None:
    panels = _panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_counters_are_asked_for_what_was_added() -> None:
    for expression in _expressions():
        for name, _ in ASKED.findall(expression):
            if isinstance(EXPORTED[name], metrics.Counter) and not expression.startswith("label_values"):
                assert re.search(rf"(increase|rate)\(airflow_spot_training_{name}\b", expression)
