"""The budgets of tasks in a Dag's serialized form."""

from __future__ import annotations

from typing import Any

import pytest

from spot_training.dashboard.budgets import budgets_in


@pytest.mark.parametrize(
    ("budget", "found"),
    [
        (200, [200.0]),
        ("$1,200", [1200.0]),
        ({"__type": "dict", "__var": {"usd": 250, "deadline_wins": True}}, [250.0]),
        ("unlimited", [None]),
        ("{{ var.value.budget }}", []),
        ("not a budget", []),
        (None, []),
    ],
)
def test_a_budget_is_found_in_a_task_and_in_a_mapped_one(budget: Any, found: list[float | None]) -> None:
    task = {"__type": "operator", "__var": {"task_id": "train", "budget": budget}}
    mapped = {"__type": "operator", "__var": {"task_id": "m", "partial_kwargs": {"budget": budget}}}
    other = {"__type": "operator", "__var": {"task_id": "other"}}
    assert list(budgets_in({"dag": {"tasks": [task, other]}})) == found
    assert list(budgets_in({"dag": {"tasks": [mapped]}})) == found
    assert list(budgets_in({})) == []
