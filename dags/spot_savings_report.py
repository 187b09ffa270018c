"""Report what managed spot training cost and saved."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Asset, Param, dag, get_current_context, task

from spot_training.compat import (
    AirflowFailException,
    AirflowSkipException,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
)

MODEL = Asset("flight_delays_model", uri="x-model://flight-delays/champion")


def _only(title: str, what: str, example: str) -> Param:
    # Airflow's form requires every text that may not be null. An empty text is null; in 0.1.0 it was "".
    return Param(
        None,
        type=["null", "string"],
        section="Which trainings",
        maxLength=250,
        title=title,
        description=f"Report only on trainings of this {what}. For example: {example}. If empty, on all.",
    )


def _day(title: str, description: str) -> Param:
    return Param(None, type=["null", "string"], format="date", title=title, description=description)


PARAMS = {
    "days": Param(
        7,
        type="integer",
        minimum=1,
        maximum=3660,
        title="Days",
        description=(
            "Only if From and To are empty: how many days back, from 1 to 3660. A scheduled report has whole "
            "days."
        ),
    ),
    "since": _day(
        "From",
        "The first day (UTC): trainings that started on it or later. If only To is given, all before it.",
    ),
    "until": _day("To", "The last day (UTC), included: not before From. If only From is given, up to now."),
    "dag_id": _only("Dag", "Dag", "retrain_flight_delays"),
    "model": _only("Model", "model (the TrainingJobName of its operator)", "flight-delays"),
    "instance_type": _only("Instance type", "instance type", "ml.m5.xlarge"),
    "team": _only("Team", "team (the tag team of its training jobs)", "research"),
    "all_installations": Param(
        False,
        type="boolean",
        section="Which trainings",
        title="All Airflows",
        description="If on, include trainings of every Airflow that shares the ledger.",
    ),
    "group_by": Param(
        ["dag_id", "model", "instance_type", "team"],
        type=["null", "array"],
        section="Layout",
        items={"type": "string", "enum": ["dag_id", "model", "instance_type", "team"]},
        examples=["dag_id", "model", "instance_type", "team"],
        values_display={
            "dag_id": "Dag",
            "model": "Model",
            "instance_type": "Instance type",
            "team": "Team",
        },
        title="Group by",
        description="The groups of the totals, in this order. If empty, there are no groups.",
    ),
}


@dag(
    # Monday at midnight UTC, and after each new model.
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 0 * * 1", timezone="UTC"), assets=[MODEL]),
    start_date=pendulum.datetime(2013, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    tags=["sagemaker", "spot", "report"],
    doc_md=__doc__
    + """

Runs every Monday for the week before and when a new model is published. Trigger it manually for any window.
It reads the ledger's records (`report_savings` in `retrain_flight_delays` reports on one training, from its
XComs), and writes HTML with charts and a CSV to the folder in the Airflow Variable `spot_report_folder`
(default: `reports` next to the Dags folder; any object storage URL works). The summary is the XCom of
`report`, and is at the end of its log.

`send` mails the report or posts it to Slack if the Airflow Variable `spot_report_notifier` is set, for
example to `{"kind": "smtp", "to": ["boss@example.com"]}` or `{"kind": "slack", "channel": "#ml-costs"}`. See
`docs/reports.md`.
""",
)
def spot_savings_report() -> None:
    send(
        report("{{ var.value.get('spot_report_folder', '') }}"),  # type: ignore[arg-type]
        "{{ var.value.get('spot_report_notifier', '') }}",
    )


# One XCom: a figure may be unknown, and Airflow 3.0 cannot push None.
@task(multiple_outputs=False)
def report(folder: str) -> dict[str, Any]:
    """Read the records of the window and write the report."""
    from datetime import UTC, datetime

    from spot_training.domain.errors import InvalidInput
    from spot_training.ledger import Ledger
    from spot_training.report import (
        Links,
        headline,
        report_of,
        sentences,
        to_csv,
        to_html,
        to_jobs_csv,
        to_log,
    )
    from spot_training.report.folder import report_folder

    context: Any = get_current_context()
    params, made_at = context["params"], datetime.now(UTC)
    try:
        selection = _selection(params, context["dag_run"])
    except InvalidInput as error:
        raise AirflowFailException(f"{error.field} is {error.value!r}: {error.way_out}") from error
    where = report_folder(folder)
    page = where / f"spot-savings-{made_at:%Y%m%dT%H%M%S%fZ}.html"
    table = where / f"spot-savings-{made_at:%Y%m%dT%H%M%S%fZ}.csv"
    jobs = where / f"spot-savings-{made_at:%Y%m%dT%H%M%S%fZ}-jobs.csv"
    with Ledger.configured().read() as reader:
        made = report_of(
            reader,
            selection,
            title=f"Spot trainings of {params['dag_id'] or 'all Dags'}",
            made_at=made_at,
            group_by=list(dict.fromkeys(params["group_by"] or ())),
        )
        with table.open("w", newline="") as file:  # type: ignore[no-untyped-call]
            file.writelines(to_csv(reader, selection))
        with jobs.open("w", newline="") as file:  # type: ignore[no-untyped-call]
            file.writelines(to_jobs_csv(reader, selection))
    page.write_text(to_html(made, Links.configured()))
    print(to_log(made.totals, simulated=made.simulated))
    print(f"Report: {page}")
    return {
        **made.totals.to_json(),
        "title": made.title,
        "window": str(made.window),
        "simulated": made.simulated,
        "headline": headline(made.totals),
        "sentences": sentences(made.totals),
        "groups": {
            group: [{"name": name, **totals.to_json()} for name, totals in list(by_name.items())[:20]]
            for group, by_name in made.groups.items()
        },
        "html": str(page),
        "csv": str(table),
        "jobs_csv": str(jobs),
        "about": params["dag_id"] or "",
        "page": Links.configured().page(selection),
    }


@task(retries=2)
def send(summary: dict[str, Any], setting: str) -> None:
    """Send the report with the notifier in `spot_report_notifier`. Skipped if it is not set."""
    from spot_training.report.sending import Message, NotifierProblem
    from spot_training.report.sending import send as send_report

    try:
        sent = send_report(setting, Message.of(summary), get_current_context())
    except NotifierProblem as error:
        raise AirflowFailException(str(error)) from error
    if sent is None:
        raise AirflowSkipException("The report is not sent: the Variable spot_report_notifier is empty.")
    print(sent)


def _selection(params: Any, dag_run: Any) -> Any:
    from spot_training.installation import this_installation
    from spot_training.ledger import Selection
    from spot_training.report import Window

    if params["since"] or params["until"]:
        window = Window.of_days(params["since"], params["until"])
    else:
        is_weekly = dag_run.run_type == "scheduled"
        window = Window.last_days(params["days"], before=dag_run.run_after, whole=is_weekly)

    def only(name: str) -> tuple[str, ...] | None:
        return (params[name],) if params[name] else None

    return Selection(
        since=window.since,
        until=window.until,
        dag_ids=only("dag_id"),
        models=only("model"),
        instance_types=only("instance_type"),
        teams=only("team"),
        installations=None if params["all_installations"] else this_installation().names,
    )


spot_savings_report()
