"""The benchmark of the policies runs, and the documented examples are true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from spot_training.policies import POLICIES

ROOT = Path(__file__).parents[2]


def test_the_benchmark_tells_every_policy_and_no_miss(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for name in ("one", "two"):
        ticks = np.repeat(rng.integers(0, 2, 60), rng.integers(1, 20, 60)).tolist()
        trace = {"metadata": {"gap_seconds": 900}, "data": ticks}
        (tmp_path / f"{name}.json").write_text(json.dumps(trace))
    out = tmp_path / "table.md"
    command = [sys.executable, "benchmarks/policies.py", "--traces", str(tmp_path), "--windows", "2"]
    done = subprocess.run([*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.read_text() == done.stdout
    rows = dict(re.findall(r"^\| ([^|]+) \| \*\*[\d.]+\*\* \| (\d+) \|", done.stdout, re.MULTILINE))
    assert all(any(row.startswith(name) for row in rows) for name in POLICIES)
    assert set(rows.values()) == {"0"}


def test_the_documented_examples_run() -> None:
    text = (ROOT / "docs" / "policies.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(example, {})  # noqa: S102 - our own documentation


def test_every_policy_and_option_is_documented() -> None:
    text = (ROOT / "docs" / "policies.md").read_text()
    for name, make in POLICIES.items():
        assert f"| `{name}` |" in text
        for option in getattr(make, "__dataclass_fields__", {}):
            assert f"`{option}`" in text
