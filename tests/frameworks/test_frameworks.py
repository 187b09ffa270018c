"""The drill's verdicts on scripts of LightGBM and scikit-learn are true; scripts/test-frameworks runs all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .cases import CASES, COMMON, RECIPES, ROOT, Case, Outcome, drill

DRILLED = [case for case in CASES if case.framework in ("lightgbm", "sklearn")]


@pytest.fixture(scope="module")
def training_python() -> str:
    python = os.environ.get("LOCAL_SAGEMAKER_PYTHON") or str(ROOT / ".venv-training" / "bin" / "python")
    if not Path(python).exists():
        pytest.skip(f"no training environment at {python}")
    return python


@pytest.fixture(scope="module")
def outcomes(
    training_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Case], Outcome]]:
    """All drills at the same time: they sleep most of the time."""
    folder = tmp_path_factory.mktemp("drills")
    with ThreadPoolExecutor() as pool:
        running = {case: pool.submit(drill, case, training_python, folder) for case in DRILLED}
        yield lambda case: running[case].result()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", DRILLED, ids=str)
def test_the_verdict_on_a_script_is_true(outcomes: Callable[[Case], Outcome], case: Case) -> None:
    outcome = outcomes(case)
    assert outcome.is_true, outcome.text


PAGE = ROOT / "docs" / "frameworks.md"
PACKAGES = {
    "lightgbm": "lightgbm",
    "sklearn": "scikit-learn",
    "xgboost": "xgboost-cpu",
    "catboost": "catboost",
    "pytorch": "torch",
    "lightning": "pytorch-lightning",
    "huggingface": "transformers",
    "keras": "keras",
}


def _read_rows() -> list[tuple[str, str, str]]:
    """Of each row of the table: the framework with its version, the name of the script, and the verdict."""
    rows = [
        line.split(" | ") for line in PAGE.read_text().splitlines() if "](../tests/frameworks/common" in line
    ]
    return [(name, re.findall(r"train_(\w+)\.py", script)[0], verdict) for name, script, verdict, *_ in rows]


def test_the_page_has_the_verdict_of_every_script() -> None:
    expected = [(case.framework, case.fails) for case in CASES if case.form != "recipe"]
    said = [(framework, verdict.partition("fails: ")[2]) for _, framework, verdict in _read_rows()]
    assert [(framework, frozenset(re.findall("`(.+?)`", fails))) for framework, fails in said] == expected


def test_the_page_names_the_versions_that_are_drilled() -> None:
    locks = [(ROOT / "locks" / f"{name}.lock").read_text() for name in ("frameworks", "torch-cpu")]
    pins = dict(re.findall(r"^([\w.-]+)==([\d.]+)", "\n".join(locks), re.MULTILINE))
    named = [(name, framework) for name, framework, _ in _read_rows()]
    assert {framework for _, framework in named} == PACKAGES.keys()
    for name, framework in named:
        assert pins[PACKAGES[framework]] in name


def test_the_code_on_the_page_is_that_of_the_recipes() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    recipes = [path.read_text() for path in RECIPES.glob("*.py")]
    assert len(blocks) >= len(PACKAGES)
    for block in blocks:
        assert any(block in recipe for recipe in recipes), block


def test_every_script_is_drilled() -> None:
    scripts = {*COMMON.glob("*.py"), *RECIPES.glob("*.py")}
    used = {case.script for case in CASES} | {case.compare for case in CASES if case.compare}
    assert scripts == used


def test_every_framework_has_a_recipe_that_passes() -> None:
    for case in CASES:
        recipe = next(each for each in CASES if (each.framework, each.form) == (case.framework, "recipe"))
        assert not recipe.fails
        assert not recipe.may_fail
