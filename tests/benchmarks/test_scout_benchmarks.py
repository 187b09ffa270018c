"""The benchmarks of the simulation with scouts run, and fail where something is not as asked for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks.policies import any_of, misses, way_back
from benchmarks.policies.compare import DEADLINE_HOURS, OVERHEAD_HOURS
from spot_training.advise.moves import BackToSpot

ROOT = Path(__file__).parents[2]
PAIRS = [(deadline, overhead) for deadline in DEADLINE_HOURS for overhead in OVERHEAD_HOURS]


def _write(folder: Path, name: str, spans: list[int], first: int = 1) -> None:
    """A series of 15-minute ticks that is there and not there for these numbers of ticks, again and again."""
    ticks: list[int] = []
    for number, span in enumerate(islice(cycle(spans), 200)):
        ticks += [(number + first) % 2] * span
    path = folder / "one" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"metadata": {"gap_seconds": 900}, "data": ticks[:900]}))


def test_the_way_back_is_compared_and_cross_fitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way_back, "GRID", way_back.GRID[::20])
    _write(tmp_path, "a", [30, 40, 7, 60])
    _write(tmp_path, "b", [12, 25])
    out = tmp_path / "table.md"
    way_back.main(["--traces", str(tmp_path), "--windows", "1", "--out", str(out)])
    text = capsys.readouterr().out
    assert out.read_text() == text
    rows = dict(re.findall(r"^\| ([^|]+) \| \*\*([\d.]+)\*\* \| 0 \|", text, re.MULTILINE))
    assert list(rows) == [setting.label for setting in way_back.settings()]
    assert 1 < float(rows["way back"]) < float(rows["never"])
    assert "Cross-fit over 2 halves, 4 choices of constants" in text


def _score(mean: float, **overrides: int) -> way_back.Score:
    values = {"runs": 1, "misses": 0, "hand_overs": 0, "failed": 0, **overrides}
    return way_back.Score(ratios={(PAIRS[0], "a"): mean}, **values)


@pytest.mark.parametrize(
    ("means", "misses", "elsewhere", "said"),
    [
        ((1.18, 1.07, 1.11), 0, 1.07, []),
        ((1.18, 1.07, 1.11), 2, 1.07, ["way back missed 2 deadlines"]),
        ((1.18, 1.08, 1.11), 0, 1.07, ["way back cost 1.0800 optima, above 1.073"]),
        ((1.18, 1.07, 1.11), 0, 1.08, ["the cross-fit cost 1.0800 optima, above 1.073"]),
        ((1.18, 1.07, 1.19), 0, 1.07, ["way back, p = 0.3 cost 1.1900 optima, not below never"]),
    ],
)
def test_the_way_back_fails_where_it_is_not_what_was_asked_for(
    means: tuple[float, float, float], misses: int, elsewhere: float, said: list[str]
) -> None:
    never, back, gone = means
    scores = {"never": _score(never), "way back": _score(back, misses=misses), way_back.GONE: _score(gone)}
    half = way_back.CrossFit(fitted_on=("a",), constants=(0.2, 1.5, 0.1), there=1.0, elsewhere=elsewhere)
    assert list(way_back.find_faults(scores, [half])) == said


def test_any_of_two_is_compared_with_one_market(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second series has capacity when the first has none."""
    _write(tmp_path, "a", [20, 28])
    _write(tmp_path, "b", [20, 28], first=0)
    out = tmp_path / "table.md"
    status = any_of.main(["--traces", str(tmp_path), "--windows", "4", "--out", str(out)])
    text = capsys.readouterr().out
    assert (status, out.read_text()) == (0, text)
    assert "Missed deadlines: 0 of" in text
    found = re.search(r"12 h due in 18 h, all: \*\*([\d.]+)\*\*", text)
    assert found
    assert float(found[1]) < 0.78
    assert "| 12 h due in 18 h, with the way back |" in text


def test_series_that_do_not_overlap_are_no_market_to_choose_from(tmp_path: Path) -> None:
    _write(tmp_path, "a", [20, 28])
    with pytest.raises(SystemExit, match="overlap in time"):
        any_of.main(["--traces", str(tmp_path)])


def test_any_of_two_fails_where_it_saves_too_little_or_is_late() -> None:
    def shares(two: float, missed: int) -> any_of.Shares:
        case = ("one", any_of.ASKED_FOR)
        runs = {(*case, 1, BackToSpot.NEVER): [0.7], (*case, 2, BackToSpot.NEVER): [two, two]}
        return any_of.Shares(runs=runs, scouts={}, misses=missed)

    assert list(any_of.find_faults(shares(0.7 * 0.779, 0))) == []
    assert list(any_of.find_faults(shares(0.7 * 0.781, 3))) == [
        "3 deadlines were missed",
        "any of 2 cost 0.781 of one market, above 0.78",
    ]


def test_no_deadline_is_missed_and_the_cases_are_hard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path, "a", [3, 5, 20, 9])
    _write(tmp_path, "b", [1, 2])
    assert misses.main(["--cases", "600", "--traces", str(tmp_path), "--windows", "1"]) == 0
    text = capsys.readouterr().out
    assert text.count("missed 0") == 2
    forgetful = re.search(r"forgets lost work ([\d,]+)", text)
    assert forgetful
    assert int(forgetful[1]) > 0


def test_a_missed_deadline_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misses, "adversarial", lambda cases, _seed: {"cases": cases, "missed": 1})
    assert misses.main(["--cases", "1"]) == 1


def test_each_comparison_is_a_command() -> None:
    asked = [sys.executable, "benchmarks/policies", "misses", "--cases", "3"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, "adversarial: cases 3, missed 0" in done.stdout) == (0, True), done.stderr


def test_halves_report_each_series_equally() -> None:
    """With a constant that is best for one series only, the other one pays for it."""
    costs = np.array([[1.0, 1.3], [1.2, 1.1]])
    halves = way_back.halve(costs, ["a", "b"])
    assert [(half.there, half.elsewhere) for half in halves] == [(1.0, 1.3), (1.1, 1.2)]
