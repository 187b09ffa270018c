"""Report what managed spot cost and saved."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Asset, Param, dag, get_current_context, task

MODEL = Asset("flight_delays_model", uri="x-model://flight-delays/champion")


@dag(
    schedule=[MODEL],
    start_date=pendulum.datetime(2013, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params={
        "dag_id": Param(
            "retrain_flight_delays",
            type="string",
            minLength=1,
            maxLength=250,
            title="Dag",
            description="Whose trainings to report on.",
        ),
        "task_id": Param(
            "train.train",
            type="string",
            minLength=1,
            maxLength=250,
            title="Training task",
            description="The task of that Dag that is a SpotTrainingOperator or SpotTrainingSensor.",
        ),
    },
    tags=["sagemaker", "spot", "report"],
    doc_md=__doc__
    + """

Runs whenever a new model is published, and by hand. Reads the ledger's records of every run of the Dag
and writes HTML with charts and CSV into the folder of the Airflow Variable `spot_report_folder` (default:
`reports` beside the Dags folder; any object storage URL works). The summary is the task's XCom and ends its
log.
""",
)
def spot_savings_report() -> None:
    @task
    def report(folder: str) -> dict[str, Any]:
        """Read the records of all runs and write the report."""
        from datetime import UTC, datetime

        from airflow.sdk import ObjectStoragePath

        from spot_training.ledger import Ledger, Selection
        from spot_training.report import to_csv, to_html, to_text, totals_of

        context: Any = get_current_context()
        params = context["params"]
        selection = Selection(dag_ids=(params["dag_id"],), task_ids=(params["task_id"],))
        with Ledger.configured().read() as reader:
            records = reader.records(selection, descending=False)
        made_at = datetime.now(UTC)
        where = ObjectStoragePath(folder or f"file://{_default_folder()}")
        where.mkdir(parents=True, exist_ok=True)
        page = where / f"spot-savings-{made_at:%Y%m%dT%H%M%SZ}.html"
        table = where / f"spot-savings-{made_at:%Y%m%dT%H%M%SZ}.csv"
        page.write_text(to_html(records, title=f"Spot savings of {params['dag_id']}", made_at=made_at))
        table.write_text(to_csv(records))
        print(to_text(records))
        print(f"Report: {page}")
        return {**totals_of(records).to_json(), "html": str(page), "csv": str(table)}

    report("{{ var.value.get('spot_report_folder', '') }}")


def _default_folder() -> str:
    from pathlib import Path

    from airflow.sdk.configuration import conf

    return str(Path(conf.get("core", "dags_folder")).parent / "reports")


spot_savings_report()
