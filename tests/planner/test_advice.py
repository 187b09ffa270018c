"""The advisor: a table, a plot and plain values, from a trace, a scenario or a history of spells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spot_training.advise import advise_on, main
from spot_training.domain.errors import InvalidInput
from spot_training.domain.moves import Workload
from spot_training.planner.advice import advise, traces_like, traces_of_scenario
from spot_training.policies import POLICIES

HOUR = 3600.0
GOOD = [(True, 10 * HOUR), (False, 0.5 * HOUR)] * 5


def _workload(**overrides: float) -> Workload:
    values = {"work_seconds": 6 * HOUR, "deadline_seconds": 14 * HOUR, "overhead_seconds": 360.0}
    return Workload(**{**values, **overrides})  # type: ignore[arg-type]


def _ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(["--work", "6h", "--deadline", "14h", "--on-demand-price", "3.06", *arguments])
    told = capsys.readouterr()
    return status, told.out + told.err


def test_every_policy_is_walked_and_none_is_late() -> None:
    advice = advise(_workload(), traces_like(GOOD, seconds=35 * HOUR))
    assert {outcome.policy for outcome in advice.outcomes} == set(POLICIES)
    assert sum(outcome.missed for outcome in (*advice.outcomes, *advice.curve)) == 0
    assert advice.chosen.mean_dollars == min(outcome.mean_dollars for outcome in advice.outcomes)
    assert advice.policy == "rule"
    assert 0 < advice.max_wait_seconds < 8 * HOUR


def test_a_market_without_spot_is_told_to_wait_for_nothing_cheaper() -> None:
    advice = advise(_workload(), traces_like([(False, 4 * HOUR)], seconds=35 * HOUR))
    assert advice.chosen.mean_dollars == pytest.approx(advice.on_demand_dollars, rel=0.02)


def test_a_later_deadline_is_not_dearer_for_the_rule() -> None:
    advice = advise(_workload(), traces_of_scenario(3 * HOUR, 2 * HOUR, seconds=35 * HOUR))
    costs = [outcome.mean_dollars for outcome in advice.curve if outcome.policy == "rule"]
    assert costs[-1] < costs[0]


def test_a_deadline_nobody_can_keep_is_refused_with_the_earliest() -> None:
    with pytest.raises(InvalidInput, match="21960 s"):
        advise(_workload(deadline_seconds=5 * HOUR), traces_like(GOOD, seconds=HOUR))


def test_advice_for_a_task_is_plain_values() -> None:
    told = advise_on(work="6h", deadline="14h", spells=GOOD)
    assert json.loads(json.dumps(told))["policy"] == "rule"
    with pytest.raises(InvalidInput, match="history"):
        advise_on(work="6h", deadline="14h", spells=[])


def test_the_command_tells_a_table_and_draws_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "cost.svg"
    status, told = _ask(capsys, "--scenario", "3h/2h", "--plot", str(plot))
    assert status == 0
    assert all(name in told for name in POLICIES)
    assert "Take rule" in told
    assert "<svg" in plot.read_text()


def test_the_command_reads_a_trace_and_a_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.json"
    trace.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": [1, 1, 0, 1] * 50}))
    status, told = _ask(capsys, "--trace", str(trace), "--json", "--back-to-spot", "beside")
    assert status == 0
    assert json.loads(told)["outcomes"][0]["missed"] == 0
    history = tmp_path / "history.json"
    history.write_text(json.dumps(GOOD))
    assert _ask(capsys, "--history", str(history))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenario", "3h"], "two durations"),
        (["--scenario", "often/seldom"], "--scenario"),
        (["--history", "nowhere.json"], "nowhere.json"),
        (["--own-history"], "--instance-type"),
        (["--scenario", "3h/2h", "--work", "20h"], "give at least"),
    ],
)
def test_what_cannot_be_understood_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = _ask(capsys, *arguments)
    assert status == 2
    assert said in told
