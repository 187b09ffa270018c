"""Notifiers and functions hear of each event once, and cannot harm the training."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from airflow.providers.slack.notifications.slack import SlackNotifier
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import DAG, BaseNotifier
from airflow.sdk.exceptions import AirflowFailException

from spot_training.domain.errors import InvalidInput
from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor
from spot_training.task import notices
from spot_training.task.notices import ARGUMENTS, Notices
from spot_training.training.state import STATE_KEY, TrainingState
from tests.cloud import Cloud, make_config
from tests.notifiers import Inbox

from .support import Run, make_operator, start_elsewhere

FALL_BACK = [{"spot": "ml.m5.xlarge", "max_wait": "1h"}, {"on_demand": ["ml.m5.xlarge"]}]


class DagRun(Run):
    """A task instance with the part of the context that notifiers need."""

    def context(self) -> Any:
        return {**super().context(), "dag": DAG("failing", schedule=None)}


def _trains(run: Run, **arguments: Any) -> Any:
    task = make_operator(config=make_config(), deferrable=False, **arguments)
    return task.execute(run.context())


def test_a_function_hears_of_each_attempt_and_of_the_fallback_once(drought: Cloud) -> None:
    heard: list[dict[str, Any]] = []
    run = DagRun()
    _trains(run, policy=FALL_BACK, on_attempt_over=[heard.append], on_fallback=heard.append)
    assert [(each["event"], each["task_id"]) for each in heard] == [
        ("attempt_over", "task"),
        ("fallback", "task"),
        ("attempt_over", "task"),
    ]
    first, fallback, last = heard
    assert first["attempt"]["ending"] == "never got capacity"
    assert fallback["number"] == last["attempt"]["number"] == 2
    assert fallback["training_job_name"] == last["training_job_name"] == last["attempt"]["job_name"]
    assert last["attempt"]["purchase"] == "on-demand"
    assert run.store.get(STATE_KEY)["notified"] == ["attempt_over 1", "fallback 2", "attempt_over 2"]


def test_a_process_that_resumes_sends_what_is_new_and_nothing_twice(drought: Cloud) -> None:
    heard: list[str] = []
    run = DagRun()

    def tell(notice: dict[str, Any]) -> None:
        heard.append(notice["text"])

    def process() -> SpotTrainingOperator:
        return make_operator(config=make_config(), policy=FALL_BACK, deferrable=True, on_attempt_over=tell)

    task = run.deferred(process)
    assert heard == []
    task._may_defer = False
    task.resume(run.context())
    assert len(heard) == 2
    process().resume(run.context())
    assert len(heard) == 2


def test_a_training_that_fails_sends_its_notices(drought: Cloud) -> None:
    heard: list[dict[str, Any]] = []
    with pytest.raises(AirflowFailException, match="no step is left"):
        _trains(DagRun(), policy=FALL_BACK[:1], on_attempt_over=heard.append, on_fallback=heard.append)
    assert [each["attempt"]["number"] for each in heard] == [1]


def test_a_sensor_hears_of_the_job_that_it_was_given(drought: Cloud) -> None:
    name = start_elsewhere(drought)
    drought.set_capacity(available=True)
    heard: list[dict[str, Any]] = []
    sensor = SpotTrainingSensor(
        task_id="task",
        training_job_name=name,
        poke_interval=0.2,
        on_attempt_over=heard.append,
        print_log=False,
    )
    sensor.execute(DagRun().context())
    assert [each["training_job_name"] for each in heard] == [name]


def test_a_late_deadline_is_at_risk_from_the_start(drought: Cloud) -> None:
    drought.set_capacity(available=True)
    heard: list[dict[str, Any]] = []
    soon = (datetime.now(UTC)).isoformat()
    _trains(
        DagRun(),
        deadline=soon,
        expected_runtime="1h",
        on_missed_deadline="late",
        on_deadline_at_risk=heard.append,
    )
    assert [each["cause"] for each in heard] == ["late"]


def test_a_spot_job_that_is_stopped_for_the_deadline_puts_it_at_risk(drought: Cloud) -> None:
    """The guard stops it, on-demand starts, and only then is the notice sent: once, and no other one."""
    heard: list[dict[str, Any]] = []
    _trains(
        DagRun(),
        deadline=(drought.now() + timedelta(hours=5)).isoformat(),
        expected_runtime="1h",
        on_deadline_at_risk=heard.append,
        on_fallback=heard.append,
    )
    fallback, at_risk = heard
    assert (at_risk["event"], at_risk["cause"]) == ("deadline_at_risk", "spot_stopped")
    assert at_risk["training_job_name"] == fallback["training_job_name"]
    assert at_risk["latest_on_demand_at"] < at_risk["deadline_at"]


# Mail and Slack -----------------------------------------------------------------------------------------


def test_airflows_notifiers_get_the_notice_in_their_templates(
    drought: Cloud, inbox: Inbox, slack: list[tuple[str, Any]]
) -> None:
    mail = SmtpNotifier(
        to="ml@example.com",
        subject="{{ notice.dag_id }}: {{ notice.event }} {{ notice.attempt.number }}",
        html_content="{{ notice.text }}",
    )
    chat = SlackNotifier(channel="#ml-alerts", text="{{ dag.dag_id }}: {{ notice.text }}")
    _trains(DagRun(), policy=FALL_BACK, on_attempt_over=[mail, chat], on_fallback=chat)
    assert [each["Subject"] for each in inbox.mails] == ["failing: attempt_over 1", "failing: attempt_over 2"]
    texts = [got["text"] for _, got in slack]
    assert [text.split(" ")[1] for text in texts] == ["Attempt", "Training", "Attempt"]
    assert "runs on demand instead of on spot" in texts[1]
    assert "{{ notice" in str(mail.subject), "each event has a fresh notifier"


# What goes wrong ----------------------------------------------------------------------------------------


def _raise(error: BaseException) -> Callable[[Any], None]:
    def listener(_notice: Any) -> None:
        raise error

    return listener


@pytest.fixture
def hang() -> Iterator[Callable[[Any], object]]:
    """A listener that hangs until the test is over."""
    is_over = threading.Event()
    yield lambda _notice: is_over.wait(30)
    is_over.set()


def test_listeners_that_fail_or_hang_are_left(
    drought: Cloud, hang: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drought.set_capacity(available=True)
    monkeypatch.setattr(notices, "NOTICE_SECONDS", 0.2)
    heard: list[Any] = []
    listeners = [
        _raise(ValueError("a mistake")),
        _raise(SystemExit("enough")),
        _raise(AirflowFailException("no")),
        "no_such_package.tell",
        hang,
        lambda notice, context: heard.append((notice["event"], context["ti"].task_id)),
    ]
    done = _trains(DagRun(), on_attempt_over=listeners)
    assert done["savings"]["completed"]
    assert heard == [("attempt_over", "task")]
    warnings = capsys.readouterr().out
    for said in (
        "ValueError: a mistake",
        "SystemExit: enough",
        "on_attempt_over (no_such_package.tell) failed",
        "took more than",
    ):
        assert said in warnings


def test_a_state_that_cannot_be_written_fails_no_training_for_its_notices(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    drought.set_capacity(available=True)
    heard: list[Any] = []
    run = DagRun()
    save = run.store.set

    def refuse(key: str, value: Any, **more: Any) -> None:
        if key == STATE_KEY and value.get("notified"):
            raise ConnectionError("no answer")
        save(key, value, **more)

    monkeypatch.setattr(run.store, "set", refuse)
    done = _trains(run, on_attempt_over=heard.append)
    assert done["savings"]["completed"]
    assert heard == [], "what is not remembered is not sent: a later process does it"


# Stalled uploads ----------------------------------------------------------------------------------------

FACTS = {
    "training_job_name": "job",
    "checkpoint_uri": "s3://bucket/run",
    "stalled_at": "2026-03-02T08:00:00+00:00",
    "saved_at": None,
    "reason": "uploads have stalled",
}


class _Driver:
    """What notices need of a driver; its state outlives a process."""

    def __init__(self) -> None:
        self.state = TrainingState()

    def remember_notices(self, keys: Any) -> None:
        self.state = replace(self.state, notified=(*self.state.notified, *keys))

    def process(self, *listeners: Any) -> Notices:
        driver: Any = self
        options = {"on_checkpoints_stalled": listeners}
        return Notices(options, context=Run().context(), log=logging.getLogger("task"), driver=driver)


def test_stalled_uploads_are_said_once_and_a_stop_that_was_asked_for_is_kept() -> None:
    heard: list[Any] = []

    def stop(notice: dict[str, Any]) -> str:
        heard.append(notice)
        return "stop"

    driver = _Driver()
    assert driver.process(stop).uploads_stalled(FACTS)
    assert driver.process(stop).uploads_stalled(FACTS), "a stop that failed is tried again"
    assert [each["checkpoint_uri"] for each in heard] == ["s3://bucket/run"]
    assert heard[0]["event"] == "checkpoints_stalled"
    assert driver.process(stop).uploads_stalled({**FACTS, "stalled_at": "2026-03-03T08:00:00+00:00"})
    assert len(heard) == 2


def always_stop(notice: dict[str, Any]) -> str:
    """Named by its import path below."""
    return "stop" if notice["reason"] == FACTS["reason"] else ""


@pytest.mark.parametrize(
    ("listeners", "stops"),
    [
        ((), False),
        (("stop",), True),
        (("stop", print), True),
        ((print,), False),
        ((always_stop,), True),
        ((f"{__name__}.always_stop",), True),
        ((f"{__name__}:always_stop",), True),
        (("no_such_module.function",), False),
        ((f"{__name__}.no_such",), False),
        ((lambda: "stop",), False),
    ],
)
def test_a_job_stops_for_stalled_uploads_if_it_is_asked_for(listeners: Any, *, stops: bool) -> None:
    driver = _Driver()
    assert [driver.process(*listeners).uploads_stalled(FACTS) for _ in range(2)] == [stops, stops]
    assert bool(driver.state.notified) == (set(listeners) - {"stop"} != set())


# Arguments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("value", [5, "not a path", ["a.b", 5], "stop!", SlackNotifier, "{{ params.tell }}"])
def test_what_cannot_be_called_is_refused_when_the_dag_is_parsed(argument: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=rf"{argument} is .* give .*a notifier, a function"):
        make_operator(**{argument: value})
    with pytest.raises(InvalidInput, match=argument):
        SpotTrainingSensor(task_id="t", training_job_name="job", **{argument: value})


def test_only_stalled_uploads_can_stop_a_job() -> None:
    make_operator(on_checkpoints_stalled=["stop", print])
    with pytest.raises(InvalidInput, match="on_fallback is 'stop'"):
        make_operator(on_fallback="stop")


def test_a_listener_by_its_import_path_may_be_a_notifier(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    drought.set_capacity(available=True)
    heard: list[str] = []

    class Teller(BaseNotifier):
        template_fields = ("text",)

        def __init__(self) -> None:
            super().__init__()
            self.text = "{{ notice.event }}"

        def notify(self, context: Any) -> None:
            heard.append(f"{self.text} of {context['notice']['task_id']}")

    module: Any = ModuleType("my_alerts")
    module.tell = Teller()
    monkeypatch.setitem(sys.modules, "my_alerts", module)
    _trains(DagRun(), on_attempt_over="my_alerts.tell")
    assert heard == ["attempt_over of task"]


def test_a_dag_with_listeners_can_be_serialized_and_read_again() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    teller = SlackNotifier(channel="#c", text="{{ notice.text }}")
    listeners: Any = {name: [teller, print, "my.alerts.tell", lambda notice: notice] for name in ARGUMENTS}
    with DAG("retrain", schedule=None) as dag:
        SpotTrainingOperator(task_id="train", config=make_config(), **listeners)
        SpotTrainingSensor(task_id="wait", training_job_name="job", **listeners)
        SpotTrainingOperator.partial(task_id="many", **listeners).expand(config=[make_config()])
    read = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert set(read.task_ids) == {"train", "wait", "many"}
