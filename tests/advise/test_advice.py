"""The advisor: a table, a plot and plain values, from a trace, a scenario or a history of intervals."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError

from spot_training import advise as advise_package
from spot_training.advise import advise_on, main
from spot_training.advise.advice import (
    PREFERRED,
    Advice,
    Outcome,
    Question,
    _quantile,
    _stretches,
    advise,
)
from spot_training.advise.markets import traces_like, traces_of_scenario
from spot_training.advise.traces import make_trace
from spot_training.domain.deadline import DeadlineGuard, Runtime
from spot_training.domain.errors import InvalidInput
from spot_training.domain.lifecycle import Ending, JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from spot_training.domain.parsing import parse_seconds
from spot_training.domain.policy_specs import Defaults, policy_from
from spot_training.domain.stopping import StoppingLimits
from spot_training.ledger import Ledger
from spot_training.ledger.prices import PriceBook
from spot_training.sagemaker.identity import RunIdentity
from spot_training.task.deadline import DeadlineTerms
from tests.records import make_attempt, make_record

HOUR = 3600.0
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GOOD = [(True, 10 * HOUR), (False, 0.5 * HOUR)] * 5
#: On the guard's own clock.
A_SECOND = 1.5


def _question(work: float = 6 * HOUR, **overrides: Any) -> Question:
    values = {"deadline_seconds": 14 * HOUR, "on_demand_price": 3.06, "spot_price": 0.9731}
    return Question(runtime=Runtime(mean_seconds=work, high_seconds=work), **{**values, **overrides})


def _advice(**overrides: Any) -> dict[str, Any]:
    values = {"work": "6h", "deadline": "14h", "intervals": GOOD, "on_demand_price": 3.06}
    return advise_on(**{**values, **overrides})


def _ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(["--work", "6h", "--deadline", "14h", "--on-demand-price", "3.06", *arguments])
    result = capsys.readouterr()
    return status, result.out + result.err


def _live_wait(*, check_interval: float = 30, **options: Any) -> float:
    """How long the operator's guard lets a spot job wait that never gets capacity."""
    plan: Any = SimpleNamespace(
        request={"StoppingCondition": {"MaxRuntimeInSeconds": 86400}},
        instance_type="ml.m5.xlarge",
        instance_count=1,
        job_name=lambda _number: "model-1",
        identity=RunIdentity(dag_id="retrain", run_id="one", task_id="train"),
    )
    deadline = DeadlineTerms(**options).settle(
        plan, now=NOW, run_began_at=NOW, check_interval=check_interval, learned=lambda **_: None
    )
    guard = DeadlineGuard(deadline=deadline)
    queued = JobSnapshot(
        name="model-1",
        arn="",
        status=TrainingStatus.IN_PROGRESS,
        secondary_status=SecondaryStatus.STARTING,
        created_at=NOW,
        last_modified_at=NOW,
        is_spot=True,
        transitions=(Transition(status=SecondaryStatus.STARTING, started_at=NOW),),
    )
    if guard.outlook(NOW).is_time_for_on_demand:
        return 0.0
    waits = guard.outlook(NOW, queued).on_demand_in_seconds
    assert waits is not None
    return waits


def test_every_policy_is_walked_and_none_is_late() -> None:
    advice = advise(_question(), traces_like(GOOD, seconds=35 * HOUR))
    assert [outcome.policy for outcome in advice.outcomes] == ["on_demand", "deadline", "widen"]
    assert sum(outcome.missed for outcome in (*advice.outcomes, *advice.curve)) == 0
    assert advice.chosen.mean_dollars == min(outcome.mean_dollars for outcome in advice.outcomes)
    assert advice.policy == "deadline"
    assert 0 < advice.wait_for_spot_seconds < 8 * HOUR


@pytest.mark.parametrize(
    ("work", "deadline"), [("1h", "90m"), ("1h", "2h"), ("2h", "3h"), ("6h", "14h"), ("20h", "3d")]
)
def test_on_demand_must_start_when_the_operator_starts_it(work: str, deadline: str) -> None:
    result = _advice(work=work, deadline=deadline)
    assert result["policy"] == ("on_demand" if deadline == "90m" else "deadline")
    live = _live_wait(deadline=deadline, expected_runtime=work)
    assert result["wait_for_spot_seconds"] == pytest.approx(live, abs=A_SECOND)


def test_what_the_task_says_of_its_reserve_is_kept_free_as_well() -> None:
    slow = {"mean": "6h", "high": "7h"}
    result = _advice(work=slow, check_interval=300, deadline_reserve="1h")
    live = _live_wait(deadline="14h", expected_runtime=slow, reserve="1h", check_interval=300)
    assert result["wait_for_spot_seconds"] == pytest.approx(live, abs=A_SECOND)
    assert "1 h for your own reserve" in result["text"]
    assert result["kept_free_seconds"] == _advice()["kept_free_seconds"] + 2 * HOUR + 270


def test_a_deadline_that_only_on_demand_can_keep_is_told_so() -> None:
    result = _advice(work="1h", deadline="90m")
    assert result["policy"] == "on_demand"
    assert result["max_wait_seconds"] is None
    assert {outcome["mean_dollars"] for outcome in result["outcomes"]} == {result["on_demand_dollars"]}
    assert "keeps 32 min free" in result["text"]
    assert "On-demand starts at once" in result["text"]


@pytest.mark.parametrize("max_runtime", ["6h", "24h", "20d", "28d"])
@pytest.mark.parametrize("deadline", ["14h", "60d"])
def test_the_max_wait_for_a_request_by_hand_is_legal(max_runtime: str, deadline: str) -> None:
    result = _advice(max_runtime=max_runtime, deadline=deadline)
    runtime, wait = parse_seconds(max_runtime, field="max_runtime"), result["max_wait_seconds"]
    StoppingLimits(max_runtime_seconds=runtime, max_wait_seconds=wait)
    policy_from({"name": "spot_only", "first_wait": wait}, Defaults(max_runtime_seconds=runtime))
    assert min(result["wait_for_spot_seconds"] + 6 * HOUR, 28 * 24 * HOUR) <= wait
    assert f"MaxWaitTimeInSeconds {wait}" in result["text"]


@pytest.mark.parametrize("max_runtime", [6 * 3600, 86400])
def test_widen_waits_as_long_as_the_ladder_of_that_name(max_runtime: int) -> None:
    ladder = policy_from("widen", Defaults(max_runtime_seconds=max_runtime))
    question = _question(max_runtime_seconds=max_runtime)
    assert question.first_wait_seconds == ladder.steps[0].max_wait_seconds
    never = traces_like([(False, 4 * HOUR)], seconds=100 * HOUR)
    advice = advise(_question(deadline_seconds=90 * HOUR, max_runtime_seconds=max_runtime), never)
    all_waits = sum(step.max_wait_seconds or 0 for step in ladder.steps)
    assert _outcome(advice, "widen").typical_finish_seconds == pytest.approx(
        all_waits + 6 * HOUR + 300, abs=300
    )


def _outcome(advice: Advice, policy: str) -> Outcome:
    return next(outcome for outcome in advice.outcomes if outcome.policy == policy)


def test_a_market_without_spot_is_told_to_wait_for_nothing_cheaper() -> None:
    advice = advise(_question(), traces_like([(False, 4 * HOUR)], seconds=35 * HOUR))
    assert advice.policy == "on_demand"
    assert advice.wait_for_spot_seconds == 0


def test_a_later_deadline_is_not_dearer() -> None:
    advice = advise(_question(), traces_of_scenario(3 * HOUR, 2 * HOUR, seconds=35 * HOUR))
    costs = [outcome.mean_dollars for outcome in advice.curve if outcome.policy == "deadline"]
    assert costs[-1] < costs[0]


def test_a_deadline_nobody_can_keep_is_refused_with_the_earliest() -> None:
    with pytest.raises(InvalidInput, match="21900 s"):
        _question(deadline_seconds=5 * HOUR)


def test_a_run_time_that_sagemaker_would_cut_short_is_refused() -> None:
    with pytest.raises(InvalidInput, match="max_runtime"):
        _advice(work="30h", deadline="3d")
    assert _advice(work="30h", deadline="3d", max_runtime="2d")["policy"] == "deadline"


def test_advice_for_a_task_is_plain_values(tmp_path: Path) -> None:
    plot = tmp_path / "cost.svg"
    result = _advice(intervals=[list(interval) for interval in GOOD], plot=f"file://{plot}")
    assert json.loads(json.dumps(result)) == result
    assert result["policy"] == "deadline"
    assert result["basis"] == "given"
    assert "Use deadline" in result["text"]
    assert "outlook" not in result["text"]
    assert "<svg" in plot.read_text()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"intervals": []}, "history"),
        ({"intervals": [1, 2]}, "history"),
        ({"scenario": "3h/2h"}, "give one of intervals"),
        ({"intervals": None}, "give one of intervals"),
        ({"intervals": None, "spells": [1, 2]}, "availability intervals, oldest first"),
        ({"work": None}, "give the run time"),
        ({"work": None, "model": "m"}, "instance_type"),
        ({"on_demand_price": None}, "instance_type with a known price"),
        ({"on_demand_price": "cheap"}, "dollars per instance hour"),
        ({"back_to_spot": "now"}, "beside"),
        ({"back_to_spot": "hand-over"}, "beside, stop-first, never"),
        ({"also_scenario": "3h"}, "two durations"),
        ({"instance_type": ["ml.a", "ml.b"]}, "several types need own_history"),
        ({"plot": "cost.doc"}, "end it in .svg"),
    ],
)
def test_what_cannot_be_advised_on_is_said(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        _advice(**wrong)


def test_a_price_that_aws_does_not_tell_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_where: str) -> None:
        raise NoCredentialsError

    monkeypatch.setattr(PriceBook, "price_of", refuse)
    with pytest.raises(
        InvalidInput, match=r"price of ml\.m5\.xlarge in .* \(Unable to locate credentials\): give it"
    ):
        _advice(on_demand_price=None, instance_type="ml.m5.xlarge", region="eu-west-1")


def test_the_command_tells_a_table_and_draws_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "cost.svg"
    status, result = _ask(capsys, "--scenario", "3h/2h", "--plot", str(plot))
    assert status == 0
    assert all(name in result for name in PREFERRED)
    assert "Use deadline" in result
    assert "<svg" in plot.read_text()


def test_the_command_reads_a_trace_and_a_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.json"
    trace.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": [1, 1, 0, 1] * 50}))
    status, result = _ask(capsys, "--trace", str(trace), "--json", "--back-to-spot", "beside")
    assert status == 0
    assert json.loads(result)["outcomes"][0]["missed"] == 0
    history = tmp_path / "history.json"
    history.write_text(json.dumps(GOOD))
    assert _ask(capsys, "--history", str(history))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenario", "3h"], "two durations"),
        (["--scenario", "often/seldom"], "scenario"),
        (["--history", "nowhere.json"], "nowhere.json"),
        (["--own-history"], "instance_type"),
        (["--scenario", "3h/2h", "--work", "20h"], "give at least"),
    ],
)
def test_what_cannot_be_understood_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result = _ask(capsys, *arguments)
    assert status == 2
    assert said in result


def test_a_way_back_to_spot_is_an_outlook_and_said_to_be_one() -> None:
    """What may be done with it is in the figures; the max wait is still what the operator does."""
    bumpy = {"intervals": [(True, 2 * HOUR), (False, 2 * HOUR)] * 5, "work": "24h", "deadline": "30h"}
    never, beside = (_advice(**bumpy, max_runtime="2d", back_to_spot=back) for back in ("never", "beside"))
    costs = [
        next(o["mean_dollars"] for o in result["outcomes"] if o["policy"] == "deadline")
        for result in (never, beside)
    ]
    assert costs[1] < costs[0]
    assert beside["wait_for_spot_seconds"] == never["wait_for_spot_seconds"]
    assert "This is an outlook" in beside["text"]
    assert "outlook" not in never["text"]


def _rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {outcome["policy"]: outcome for outcome in result["with_scouts"]["outcomes"]}


def test_the_advice_says_what_another_type_and_a_way_back_would_save() -> None:
    market = {"intervals": None, "scenario": "2h/4h", "work": "24h", "deadline": "34h", "max_runtime": "2d"}
    alone, result = _advice(**market), _advice(**market, also_scenario=["2h/4h", "2h/4h"])
    assert list(_rows(alone)) == ["with a way back"]
    rows = ["with a way back", "any of 3", "any of 3, with a way back", "widen, any of 3"]
    assert list(_rows(result)) == rows
    back, several, both, widened = _rows(result).values()
    assert (widened["missed"], widened["runs"]) == (0, 60)
    assert widened["mean_dollars"] == pytest.approx(several["mean_dollars"], rel=0.25)
    assert 0 < back["saved"] < several["saved"] <= both["saved"] < 0.7
    assert both["missed"] == several["missed"] == back["missed"] == 0
    assert several["runs"] == 60
    one = result["with_scouts"]["one_type_dollars"]
    assert several["mean_dollars"] == pytest.approx((1 - several["saved"]) * one)
    # It is the policy deadline in another simulation: seconds are billed, and no whole ticks.
    deadline = next(outcome for outcome in result["outcomes"] if outcome["policy"] == "deadline")
    assert one == pytest.approx(deadline["mean_dollars"], rel=0.03)
    assert f"any of 3 {several['saved']:.0%}" in result["text"]
    assert "back_to_spot in the policy" in result["text"]
    assert "price and speed of the first" in result["text"]
    assert "price and speed of the first" not in alone["text"]
    assert {key: alone[key] for key in ("policy", "outcomes", "curve")} == {
        key: result[key] for key in ("policy", "outcomes", "curve")
    }


def test_traces_of_several_types_are_taken_at_the_same_moments(tmp_path: Path) -> None:
    """Each type has capacity when the other has none, so that one of them always has some."""
    ticks = ([1] * 12 + [0] * 12) * 20
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, values in zip(files, (ticks, [1 - tick for tick in ticks]), strict=True):
        file.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": values}))
    result = _advice(intervals=None, trace=str(files[0]), also_trace=str(files[1]), work="8h")
    either, spot = _rows(result)["any of 2"], 0.318 * 3.06
    # Eight hours of work, one launch for each of at most six stretches, and the scouts.
    assert either["mean_dollars"] < 9 * spot
    same = _advice(intervals=None, trace=str(files[0]), also_trace=[str(files[0])], work="8h")
    assert _rows(same)["any of 2"]["saved"] <= 0.01


def test_types_with_traces_of_other_lengths_and_ticks_are_cut_to_what_both_cover(tmp_path: Path) -> None:
    for name, gap, count in (("a", 600, 900), ("b", 195, 40)):
        values = {"metadata": {"gap_seconds": gap}, "data": [1, 1, 0] * (count // 3)}
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    result = _advice(
        intervals=None, trace=str(tmp_path / "a.json"), also_trace=str(tmp_path / "b.json"), work="1h"
    )
    assert _rows(result)["any of 2"]["missed"] == 0


def test_a_recorded_type_may_be_combined_with_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": [1, 0] * 400}))
    result = _advice(intervals=None, scenario="3h/2h", also_trace=str(tmp_path / "a.json"))
    assert _rows(result)["any of 2"]["runs"] == 60


def test_own_history_of_several_types_is_any_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"ml.a": [(True, HOUR), (False, 6 * HOUR)], "ml.b": GOOD, "ml.none": []}

    def recent(*, instance_type: str, **_: object) -> list[tuple[bool, float]]:
        return seen[instance_type]

    monkeypatch.setattr("spot_training.advise.place.recent_intervals", recent)
    own = {"intervals": None, "own_history": True, "region": "eu-west-1"}
    result = _advice(**own, instance_type=["ml.a", "ml.b"])
    assert _rows(result)["any of 2"]["saved"] > 0.3
    assert list(_rows(_advice(**own, instance_type="ml.a"))) == ["with a way back"]
    with pytest.raises(InvalidInput, match=r"instance_type is 'ml\.none'"):
        _advice(**own, instance_type=["ml.a", "ml.none"])


def test_own_history_says_what_happened_on_each_type(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", str(tmp_path / "ledger"))
    now = datetime.now(UTC)
    moments = {"created_at": now, "started_at": now + timedelta(minutes=4), "ended_at": now}
    attempts = tuple(make_attempt(number=n, interruptions=n % 4, **moments) for n in range(1, 6))
    scout = make_attempt(job_name="scout", ending=Ending.SCOUT_DONE, **moments)
    ledger.write(make_record(began_at=now, attempts=attempts, scouts=(scout,)))
    monkeypatch.setattr("spot_training.advise.place.recent_intervals", lambda **_: GOOD)
    own = {"intervals": None, "own_history": True, "region": "us-east-1", "instance_type": "ml.m5.xlarge"}
    result = _advice(**own)
    (seen,) = result["types_seen"]
    assert (seen["interrupted"], seen["attempts"], seen["scouts"]) == (4, 5, 1)
    table = result["text"].partition("Spot jobs of the last 14 days:\n")[2].splitlines()
    assert table[1].split("  ")[:2] == ["ml.m5.xlarge", "us-east-1"]
    assert "4 of 5" in table[1]
    assert "4 min" in table[1]
    assert table[2] == "ml.m5.xlarge is asked last: 4 of 5 spot attempts in 14 days were interrupted."
    assert "Spot jobs" not in _advice()["text"]


def test_the_command_takes_further_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.json"
    trace.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": [1, 1, 0, 1] * 50}))
    status, result = _ask(
        capsys, "--scenario", "3h/2h", "--also-scenario", "1h/1h", "--also-trace", str(trace)
    )
    assert (status, "any of 3, with a way back" in result) == (0, True)


def test_quantiles_are_between_the_two_nearest_values() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [_quantile(values, share) for share in (0, 0.5, 1)] == [1.0, 2.5, 4.0]
    assert _quantile(values, 0.95) == pytest.approx(3.85)
    assert _quantile([7.0], 0.95) == 7.0


def test_an_outcome_sums_up_all_runs() -> None:
    advice = advise(_question(), traces_of_scenario(3 * HOUR, 2 * HOUR, seconds=35 * HOUR))
    spot = _outcome(advice, "deadline")
    assert spot.runs == 60
    assert spot.mean_dollars < spot.high_dollars <= 1.05 * advice.on_demand_dollars
    assert 6 * HOUR < spot.typical_finish_seconds < spot.high_finish_seconds <= 14 * HOUR
    assert spot.mean_launches > 1


def test_a_trace_that_ends_too_soon_goes_on_from_its_beginning() -> None:
    stretches = _stretches(make_trace([1, 0, 0], 3600), 5 * HOUR, 60)
    assert [stretch.ticks for stretch in stretches] == [b"\1\0\0\1\0", b"\0\0\1\0\0", b"\0\1\0\0\1"]


def test_drawn_markets_have_the_lengths_that_were_given() -> None:
    traces = traces_of_scenario(3 * HOUR, 1 * HOUR, seconds=500 * HOUR)
    assert traces == traces_of_scenario(3 * HOUR, 1 * HOUR, seconds=500 * HOUR)
    assert sum(trace.availability for trace in traces) / len(traces) == pytest.approx(0.75, abs=0.05)
    seen = traces_like([(True, 2 * HOUR), (False, HOUR)], seconds=500 * HOUR)
    assert {trace.seconds for trace in seen} == {500 * HOUR}
    assert sum(trace.availability for trace in seen) / len(seen) == pytest.approx(2 / 3, abs=0.02)


def test_the_advisor_is_a_module_to_run_and_loads_with_its_first_use() -> None:
    """The simulator in the same package needs neither Airflow nor botocore."""
    asked = [sys.executable, "-m", "spot_training.advise", "--scenario", "3h/2h", "--on-demand-price", "3"]
    done = subprocess.run([*asked, "--work", "1h", "--deadline", "3h"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Use deadline" in done.stdout
    script = (
        "import sys; from spot_training.policies import simulate;"
        "simulate('deadline', {'work_seconds': 1, 'deadline_seconds': 2}, [1]);"
        "print([m for m in ('airflow', 'boto3', 'botocore', 'numpy', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_the_advisor_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'spot_training\.advise' has no attribute 'advice_on'"):
        _ = advise_package.advice_on


def test_the_names_of_0_1_0_still_work() -> None:
    from spot_training.advise import intervals, moves
    from spot_training.domain import messages

    assert _advice(intervals=None, spells=GOOD) == _advice(intervals=GOOD)
    workload = moves.Workload(work_seconds=HOUR, deadline_seconds=2 * HOUR)
    view = replace(moves.View.at_submission(workload, tick_seconds=300), interval_seconds=600)
    assert view.spell_seconds == 600
    assert moves.Spells is moves.Intervals
    assert intervals.spells_seen is intervals.intervals_seen
    assert messages.Narrator is messages.TransitionTracker
