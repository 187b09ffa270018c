"""The Dag that advises: its task function with the trigger form's values, from each source."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

from spot_training.domain.lifecycle import SecondaryStatus, Transition
from spot_training.ledger import Ledger
from tests.records import make_attempt, make_record

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime.now(UTC)

Advise = Callable[..., dict[str, Any]]


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """An Airflow with a ledger, a prices file and a region."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("us-east-1: {ml.m5.xlarge: 0.23}")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__PRICES_FILE", str(prices))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://?region_name=us-east-1")
    return Ledger.at(tmp_path / "ledger")


@pytest.fixture
def advise(installation: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Advise:
    """Trigger it with these params, and what its task returns."""
    spec = importlib.util.spec_from_file_location("advise_on_spot_dag", ROOT / "dags" / "advise_on_spot.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(**params: Any) -> dict[str, Any]:
        dag = module.advise_on_spot()
        dag.params.update(params)
        context = {"params": dag.params.validate()}
        monkeypatch.setattr(module, "get_current_context", lambda: context)
        result: dict[str, Any] = dag.get_task("advise").python_callable(f"file://{tmp_path}/reports")
        return result

    return run


def _train_twice(ledger: Ledger) -> None:
    """Two trainings of a model, each an hour of waiting, then two hours on spot."""
    for day in (2, 3):
        began = NOW - timedelta(days=day)
        started, ended = began + timedelta(hours=1), began + timedelta(hours=3)
        attempt = make_attempt(
            created_at=began,
            started_at=started,
            ended_at=ended,
            transitions=(
                Transition(status=SecondaryStatus.STARTING, started_at=began, ended_at=started),
                Transition(status=SecondaryStatus.TRAINING, started_at=started, ended_at=ended),
            ),
        )
        ledger.write(make_record(run_id=f"run {day}", began_at=began, ended_at=ended, attempts=(attempt,)))


def test_a_scenario_is_answered_with_a_table_a_plot_and_plain_values(
    advise: Advise, capsys: pytest.CaptureFixture[str]
) -> None:
    result = advise(work="6h", deadline="14h", source="scenario", scenario="3h/40m")
    assert json.loads(json.dumps(result)) == result
    assert result["policy"] == "deadline"
    assert result["on_demand_dollars"] == pytest.approx(6.1 * 0.23, rel=0.02)
    assert "<svg" in Path(result["plot"].removeprefix("file://")).read_text()
    assert result["text"] in capsys.readouterr().out


def test_the_form_as_it_opens_is_answered_where_nothing_is_on_record(advise: Advise) -> None:
    result = advise()
    assert result["basis"] == "given"
    assert result["policy"]


def test_empty_text_in_the_conf_of_an_earlier_run_is_the_same_as_none(advise: Advise) -> None:
    empty = dict.fromkeys(("model", "trace", "max_runtime", "deadline_reserve"), "")
    left_out = advise(work="6h", source="scenario")
    result = advise(work="6h", source="scenario", **empty)
    assert result["text"] == left_out["text"]


def test_a_trace_is_read(advise: Advise, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    trace.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": [1, 1, 0, 1] * 50}))
    assert advise(work="6h", source="trace", trace=str(trace))["policy"] == "deadline"


def test_further_types_are_of_the_market_that_was_chosen(
    advise: Advise, installation: Ledger, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.json"
    trace.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": [1, 1, 0, 1] * 50}))
    _train_twice(installation)
    for further, market in (
        ("2h/1h, 5h/3h", {"source": "scenario"}),
        (f"{trace},{trace}", {"source": "trace", "trace": str(trace)}),
        ("ml.m5.xlarge, ml.m5.xlarge", {"source": "own history"}),
    ):
        result = advise(work="6h", further_types=further, **market)
        assert "any of 3" in [outcome["policy"] for outcome in result["with_scouts"]["outcomes"]]


def test_run_time_and_market_come_from_the_installations_own_history(
    advise: Advise, installation: Ledger
) -> None:
    _train_twice(installation)
    result = advise(work=None, model="model", deadline="14h", source="own history")
    assert result["basis"] == "learned from 2 past runs of model on ml.m5.xlarge"
    assert result["outcomes"][0]["missed"] == 0
    assert result["policy"] == "deadline"


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"work": "6h", "source": "own history"}, "no recent spot job in us-east-1"),
        ({"work": "6h", "source": "trace", "trace": ""}, "trace is '': the spot market is trace"),
        ({"work": "6h", "source": "trace", "trace": "nowhere.json"}, "nowhere.json"),
        ({"work": "", "source": "scenario"}, "give the run time"),
        ({"work": None, "source": "scenario"}, "give the run time"),
        ({"work": "6h", "source": "scenario", "scenario": None}, "scenario is None: the spot"),
        ({"work": "6h", "deadline": "5h", "source": "scenario"}, "give at least"),
        ({"work": "6h", "source": "scenario", "instance_type": "ml.p3.2xlarge"}, "price"),
    ],
)
def test_what_cannot_be_advised_on_fails_with_the_way_out(
    advise: Advise, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(AirflowFailException, match=said):
        advise(**params)


def test_the_form_refuses_another_source(advise: Advise) -> None:
    with pytest.raises(ParamValidationError):
        advise(work="6h", source="a friend")
