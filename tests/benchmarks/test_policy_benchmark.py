"""The benchmark of the policies runs, and the documented examples are true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from benchmarks.policies import compare
from benchmarks.policies.baselines import BASELINES
from spot_training.policies import POLICIES

ROOT = Path(__file__).parents[2]


def test_the_benchmark_tells_every_policy_and_no_miss(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for name in ("one/a", "two/b"):
        ticks = np.repeat(rng.integers(0, 2, 60), rng.integers(1, 20, 60)).tolist()
        trace = {"metadata": {"gap_seconds": 900}, "data": ticks}
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.json").write_text(json.dumps(trace))
    out = tmp_path / "table.md"
    command = [sys.executable, "benchmarks/policies", "--traces", str(tmp_path), "--windows", "2"]
    done = subprocess.run([*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.read_text() == done.stdout
    rows = dict(re.findall(r"^\| ([^|]+) \| \*\*[\d.]+\*\* \| (\d+) \|", done.stdout, re.MULTILINE))
    assert all(any(row.startswith(name) for row in rows) for name in (*BASELINES, "deadline"))
    assert set(rows.values()) == {"0"}
    assert {"planner, fitted on the other series", "planner, fitted on the other folders"} <= set(rows)


@pytest.mark.parametrize(
    ("label", "ratio", "misses", "said"),
    [
        ("rule", 1.044, 0, []),
        ("rule", 1.046, 0, ["rule cost 1.0460 optima on the mean, above 1.045"]),
        ("deadline", 1.044, 0, []),
        ("deadline", 1.046, 0, ["deadline cost 1.0460 optima on the mean, above 1.045"]),
        ("deadline, never", 1.2, 0, []),
        ("planner, fitted on the other series", 1.034, 0, []),
        (
            "planner, fitted on the other series",
            1.036,
            0,
            ["planner, fitted on the other series cost 1.0360 optima on the mean, above 1.035"],
        ),
        ("planner, fitted on the other folders", 1.036, 0, []),
        ("greedy", 1.18, 2, ["greedy missed 2 deadlines"]),
        ("greedy", 0.99, 0, ["greedy was below the optimum: 0.9900"]),
    ],
)
def test_the_benchmark_fails_where_a_policy_is_not_what_was_asked_for(
    label: str, ratio: float, misses: int, said: list[str]
) -> None:
    runs = {((52.0, 0.1), series): np.array([ratio, ratio]) for series in ("one", "two")}
    assert list(compare.find_faults({label: compare.Score(ratios=runs, misses=misses)})) == said


def test_the_documented_examples_run() -> None:
    text = (ROOT / "docs" / "policies.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        exec(example, {})  # noqa: S102 - our own documentation


def test_every_policy_and_option_is_documented() -> None:
    text = (ROOT / "docs" / "policies.md").read_text()
    for name, make in POLICIES.items():
        assert f"| `{name}` |" in text
        for option in signature(make).parameters:
            assert f"`{option}`" in text
