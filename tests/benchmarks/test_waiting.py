"""What the benchmark of waiting holds figures against. The benchmark itself is a command."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from tests.cloud import ROOT

DETECTION = "detection, a tenth at once, 99th percentile s"
STALL = "longest event-loop stall, ms"


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "waiting", raising=False)
    return importlib.import_module("waiting")


def test_a_figure_above_its_target_is_a_miss_and_events_are_asked_for_more(waiting: ModuleType) -> None:
    sides = [
        waiting.Side(name, 10, {DETECTION: 5.0, STALL: 99.0})
        for name in (waiting.POLLING, waiting.EVENTS, waiting.PROVIDER)
    ]
    assert waiting.misses(sides) == [f"ours, events: {DETECTION} is 5, asked for are 4 at most"]
    sides[0].figures[STALL] = 151.0
    assert len(waiting.misses(sides)) == 2


def test_the_table_says_what_was_asked_for(waiting: ModuleType) -> None:
    sides = [
        waiting.Side(name, 10, {DETECTION: 5.0, STALL: 99.0}) for name in (waiting.POLLING, waiting.EVENTS)
    ]
    rows = waiting.table(sides).splitlines()
    assert rows[2:] == [f"| {DETECTION} | 5 | 5 | 10 / 4 |", f"| {STALL} | 99 | 99 | 150 |"]
