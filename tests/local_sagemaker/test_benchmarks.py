"""The benchmark and the soak run, and say what they promise; a sample of each, small enough for every day."""

from __future__ import annotations

import importlib
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .support import ROOT

#: The full ones are commands: `python benchmarks/local_server.py`, `python benchmarks/soak.py`.
SOAK_MINUTES = os.environ.get("LOCAL_SAGEMAKER_SOAK_MINUTES", "0.3")


def _run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_benchmark_compares_with_moto_and_writes_only_the_file_it_is_given(tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    message = _run("local_server.py", "--jobs", "200", "--seconds", "0.3", "--rounds", "1", "--out", str(out))
    assert out.read_text() == message
    ratios = dict(re.findall(r"^\| ([a-z]+).*\| ([\d.]+) \|$", message, re.MULTILINE))
    assert {"creates", "describes", "list"} <= ratios.keys()
    # Far below the targets of the benchmark: a busy machine must not fail this.
    assert float(ratios["describes"]) > 2
    assert float(ratios["creates"]) > 1
    week = re.search(r"week of one job.*: ([\d.]+) s of wall time", message)
    assert week is not None
    assert float(week[1]) < 5


def test_the_benchmark_of_the_start_measures_every_row() -> None:
    rows = re.findall(
        r"^\| (.*) \| ([\d.]+) \| ([\d.]+) \|$", _run("start.py", "--rounds", "1"), re.MULTILINE
    )
    assert [name.partition(",")[2].strip() for name, *_ in rows] == [
        "`ready:`", "first answer of SageMaker", "first answer of S3", ""
    ]  # fmt: skip
    assert all(float(seconds) > 0 for _, seconds, _ in rows)


@pytest.mark.parametrize(("mb_per_hour", "is_growing"), [(0, False), (5, False), (60, True)])
def test_a_soak_tells_a_server_that_grows_from_one_that_goes_up_and_down(
    monkeypatch: pytest.MonkeyPatch, mb_per_hour: float, is_growing: bool
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    soak: Any = importlib.import_module("soak")
    order = random.Random(3)  # noqa: S311
    samples = [
        soak.Sample(
            at=at, mb=200 + mb_per_hour * at / 3600 + order.gauss(0, 2), threads=6, alive=5000, kept=1000
        )
        for at in range(1800)
    ]
    slope, margin = soak.trend(soak.second_half(samples))
    assert slope - margin <= mb_per_hour <= slope + margin
    assert (soak.growth(samples, minutes=30) is not None) == is_growing
    assert soak.growth(samples, minutes=5) is None


@pytest.mark.timeout(3600)
def test_every_job_of_a_soak_ends_as_its_limits_say() -> None:
    message = _run("soak.py", "--minutes", SOAK_MINUTES, "--jobs", "1000", "--speed", "2000")
    assert "Not as it should be: 0." in message
    over = re.search(r"Jobs over: ([\d,]+)", message)
    assert over is not None
    assert int(over[1].replace(",", "")) > 1000
