"""The modules that the run of small faults changes, and the tests that it asks, are there."""

from __future__ import annotations

import importlib

import pytest

from tests.cloud import ROOT


def test_every_module_and_test_that_the_table_names_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    mutations = importlib.import_module("mutations")
    modules = {str(mutations.PACKAGE / module) for module in mutations.TESTS}
    tests = {test for asked in mutations.TESTS.values() for test in asked}
    assert [path for path in sorted(modules | tests) if not (ROOT / path).exists()] == []
