"""The report of one training, from the XComs of its task: complete, failed, and with figures missing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spot_training.domain.errors import InvalidInput
from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import Attempt, PurchaseOption, statement_of
from spot_training.report import TrainingReport
from spot_training.report.training import MOST_LETTERS
from tests.records import make_attempt

PRICES = {"ml.m5.xlarge": 0.5}
TITLE = "retrain manual__1"


def _never_started(**overrides: Any) -> Attempt:
    nothing = dict.fromkeys(("started_at", "work_seconds", "launch_seconds"))
    return make_attempt(
        ending=Ending.NO_CAPACITY, training_seconds=0, billable_seconds=0, **nothing, **overrides
    )


def _report(*attempts: Attempt, prices: dict[str, float] = PRICES, title: str = TITLE) -> TrainingReport:
    """As a downstream task makes it: from what XCom, which is JSON, holds of these attempts."""
    savings = json.loads(json.dumps(statement_of(attempts, prices).to_json()))
    listed = json.loads(json.dumps([attempt.to_json(with_transitions=False) for attempt in attempts]))
    return TrainingReport.of(savings, listed, title=title)


def test_a_training_that_completed_says_what_it_cost_and_saved_and_how_each_attempt_ended() -> None:
    report = _report(_never_started(), make_attempt(number=2, reason="no spot capacity"))
    outcome = "Training completed: 2 attempts, waited 2 h, never interrupted, billed 36 min"
    assert report.sentences == (
        f"{outcome}; saved 70 % against on-demand without interruptions.",
        "It cost $0.30 instead of $1.00 on demand.",
    )
    assert len(report.attempts) == 2
    assert "never got capacity" in report.attempts[0]
    assert report.attempts[1].endswith("Reason: no spot capacity.")
    assert report.text.splitlines() == [TITLE, *report.sentences, *report.attempts]


def test_a_training_of_a_local_cloud_says_that_it_is_simulated() -> None:
    attempt, clock = make_attempt(), "local cloud, clock x150"
    savings = {**statement_of([attempt], PRICES).to_json(), "local_cloud": clock}
    report = TrainingReport.of(savings, [attempt.to_json()], title=TITLE)
    assert f"Its times and costs are simulated ({clock})." in report.sentences
    assert "simulated" not in _report(attempt).text


def test_a_training_that_failed_says_why_and_that_there_is_no_model() -> None:
    said = "ExecuteUserScriptError:\nthe label column is missing"
    report = _report(make_attempt(ending=Ending.ALGORITHM_ERROR, message=said))
    assert report.sentences[0].startswith("Training not completed: 1 attempt")
    assert report.sentences[1:] == (
        "It cost $0.30 and produced no model.",
        "The last attempt ended with: ExecuteUserScriptError: the label column is missing",
    )


def test_what_a_script_said_is_cut() -> None:
    report = _report(make_attempt(ending=Ending.ALGORITHM_ERROR, message="x" * 10_000))
    assert len(report.sentences[-1]) < MOST_LETTERS + 50


def test_figures_that_aws_did_not_say_are_unknown_not_zero() -> None:
    report = _report(make_attempt(billable_seconds=None, training_seconds=None))
    assert "billed unknown; savings unknown" in report.sentences[0]
    assert report.sentences[1] == "Its cost in dollars is not known."
    assert "None" not in report.text


def test_without_a_price_there_are_no_dollars() -> None:
    report = _report(make_attempt(), prices={})
    assert "saved 70 %" in report.sentences[0]
    assert report.sentences[1] == "Its cost in dollars is not known."


def test_spot_that_lost_money_is_called_lost() -> None:
    lost = make_attempt(ending=Ending.OUT_OF_WAIT, has_checkpoints=False, billable_seconds=9000)
    done = make_attempt(number=2, has_checkpoints=False, purchase=PurchaseOption.ON_DEMAND)
    assert "spot cost 55 % more than on-demand without interruptions" in _report(lost, done).sentences[0]


def test_a_training_without_any_attempt_was_billed_nothing() -> None:
    report = _report()
    assert report.attempts == ()
    assert report.sentences == (
        "No training job was created, so nothing was billed. See the log of the training task.",
    )


def test_a_task_that_pushed_nothing_left_no_figures() -> None:
    report = TrainingReport.of(None, None, title=TITLE)
    assert "has no figures" in report.text
    assert "failed before its first attempt" in report.markdown


@pytest.mark.parametrize(
    ("savings", "attempts", "named"),
    [
        ("68 %", [], "savings"),
        ({"Training": {}}, [], "savings"),
        (statement_of([make_attempt()]).to_json(), "two", "attempts"),
    ],
)
def test_what_is_no_such_xcom_is_refused_by_name(savings: Any, attempts: Any, named: str) -> None:
    with pytest.raises(InvalidInput, match=f"{named} is .*: give the XCom `{named}`"):
        TrainingReport.of(savings, attempts, title=TITLE)


def test_figures_of_an_older_or_newer_version_are_read() -> None:
    savings = statement_of([make_attempt()], PRICES).to_json()
    del savings["saved_usd"]
    report = TrainingReport.of({**savings, "carbon": 7}, [make_attempt().to_json()], title=TITLE)
    assert "saved 70 %" in report.sentences[0]


def test_names_and_messages_are_neither_markdown_nor_html() -> None:
    hostile = "# <b>|`x`\n\n[here](http://evil)*"
    report = _report(make_attempt(ending=Ending.ALGORITHM_ERROR, message=hostile), title=hostile)
    assert "\\# \\<b\\>\\|\\`x\\` \\[here\\](http://evil)\\*" in report.markdown
    assert report.markdown.count("\n#") == 0
    assert "&lt;b&gt;" in report.mail
    assert "<b>" not in report.mail
    assert "\n" not in report.subject
