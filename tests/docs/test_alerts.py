"""The notifiers and functions of the page about alerts, called as a training calls them."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from spot_training.domain.deadline import Deadline, Runtime
from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import PurchaseOption
from spot_training.task.notices import Notices, notices_of
from spot_training.training.state import TrainingState
from tests.notifiers import Inbox
from tests.records import T0, make_attempt

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "alerts.md"
STALLED = {
    "training_job_name": "job-2",
    "stalled_at": "2026-03-02T08:00:00+00:00",
    "reason": "uploads have stalled",
}


def _names_of_example(text: str) -> dict[str, Any]:
    """What the Python example with this text defines. The Dag at its end is made, too."""
    blocks = [block.split("\n```")[0] for block in PAGE.read_text().split("```python\n")[1:]]
    (code,) = (block for block in blocks if text in block)
    names: dict[str, Any] = {"__name__": "example_of_the_docs"}
    exec(compile(code, "example", "exec"), names)  # noqa: S102 - our own docs
    return {**names, "made": eval(code.strip().splitlines()[-1], names)}  # noqa: S307


def _context(dag: DAG, **more: Any) -> Any:
    ti = SimpleNamespace(
        dag_id=dag.dag_id,
        run_id="r",
        task_id="train",
        map_index=-1,
        try_number=1,
        log_url="http://airflow/log",
    )
    return {"dag": dag, "ti": ti, **more}


def test_the_notices_of_the_page_arrive(
    inbox: Inbox, slack: list[tuple[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    dag = _names_of_example("on_deadline_at_risk")["made"]
    spot = make_attempt(ending=Ending.STOPPED_FOR_DEADLINE)
    on_demand = replace(spot, number=2, purchase=PurchaseOption.ON_DEMAND, ending=Ending.CLIENT_ERROR)
    runtime = Runtime(mean_seconds=3600, high_seconds=3600, basis="given")
    driver: Any = SimpleNamespace(
        state=TrainingState(
            attempts=(spot, on_demand),
            deadline=Deadline(at=T0 + timedelta(hours=9), submitted_at=T0, runtime=runtime),
        ),
        training=SimpleNamespace(is_killed=False),
        jobs=SimpleNamespace(clock=SimpleNamespace(now=lambda: T0)),
        remember_notices=list,
    )
    task: Any = dag.task_dict["train"]
    notices = Notices(notices_of(task), context=_context(dag), log=logging.getLogger("task"), driver=driver)
    notices.send_due()
    assert notices.uploads_stalled(STALLED), "the page's list ends with stop"
    assert "attempt_over stopped for the deadline 1" in capsys.readouterr().out
    texts = [got["text"] for _, got in slack]
    assert len(texts) == 3
    assert all(text.startswith("retrain_with_notices: ") for text in texts)
    assert "uploads have stalled" in texts[-1]
    (mail,) = inbox.mails
    assert mail["Subject"] == "retrain_with_notices: spot was stopped for it"
    body = mail.get_body(("html",))
    assert body is not None
    assert "http://airflow/log" in body.get_content()


def test_the_mail_of_a_failed_training_arrives(inbox: Inbox) -> None:
    names = _names_of_example("on_failure_callback=failed")
    names["failed"](_context(names["made"], exception=RuntimeError("no step is left")))
    (mail,) = inbox.mails
    assert mail["Subject"] == "retrain_and_tell: the training failed"
    body = mail.get_body(("html",))
    assert body is not None
    assert "no step is left" in body.get_content()
