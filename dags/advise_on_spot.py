"""Advise on a training: which policy, which max wait, what it will cost and when it will be complete."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, get_current_context, task

from spot_training.compat import AirflowFailException


def _text(default: str, title: str, description: str) -> Param:
    return Param(default, type="string", maxLength=1000, title=title, description=description)


def _optional(title: str, description: str) -> Param:
    # Airflow's form requires every text that may not be null. An empty text is null; in 0.1.0 it was "".
    return Param(None, type=["null", "string"], maxLength=1000, title=title, description=description)


PARAMS = {
    "work": Param(
        "6h",
        type=["null", "string"],
        maxLength=1000,
        title="Run time",
        description="How long the training takes, like 6h. If empty, learned from past runs of the model.",
    ),
    "model": _optional("Model", "The TrainingJobName of the operator. Required if the run time is empty."),
    "deadline": _text("14h", "Deadline", "The time from submission to the deadline, like 14h."),
    "instance_type": _text("ml.m5.xlarge", "Instance type", "The type for the price and the history."),
    "source": Param(
        "scenario",
        type="string",
        enum=["own history", "scenario", "trace"],
        title="Spot market",
        description=(
            "The scenario or the trace below, or the ledger's history of the instance type in the last week "
            "(own history)."
        ),
    ),
    "scenario": Param(
        "3h/40m",
        type=["null", "string"],
        maxLength=1000,
        title="Scenario",
        description="The mean time with/without spot capacity. Required if the spot market is scenario.",
    ),
    "trace": _optional(
        "Trace",
        "A capacity trace (JSON): a path on the worker, or an object storage URL. Required if the spot "
        "market is trace.",
    ),
    "on_demand_price": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        title="On-demand price",
        description="US dollars per instance hour. If empty, the configured prices are used.",
    ),
    "price_ratio": Param(
        0.318,
        type="number",
        minimum=0,
        title="Spot price",
        description="The spot price, as a share of the on-demand price.",
    ),
    "max_runtime": _optional(
        "Max run time", "MaxRuntimeInSeconds of the request. If empty, one day, as in SageMaker."
    ),
    "deadline_reserve": _optional(
        "Deadline reserve", "The operator's option: more time to keep free, like 30m."
    ),
}


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params=PARAMS,
    tags=["sagemaker", "spot", "advice"],
    doc_md=__doc__
    + """

Trigger it manually. It runs for a few seconds and changes no training. It simulates every policy on the spot
market (the ledger's history, a scenario or a trace), with the time that the operator keeps free before a
deadline. The table and the advice are at the end of the log of `advise`, and all figures are in its XCom. The
plot (cost against deadline for each policy, with missed deadlines) is written to the folder in the Airflow
Variable `spot_report_folder` (default: `reports` next to the Dags folder; any object storage URL works). See
`docs/policies.md`.
""",
)
def advise_on_spot() -> None:
    # One XCom: a value may be missing, and Airflow 3.0 cannot push None.
    @task(multiple_outputs=False)
    def advise(folder: str) -> dict[str, Any]:
        """Simulate every policy, print the table, draw the plot."""
        from datetime import UTC, datetime

        from spot_training.advise import advise_on
        from spot_training.domain.errors import InvalidInput, InvalidTrace
        from spot_training.report.folder import report_folder

        context: Any = get_current_context()
        params = dict(context["params"])
        source = params.pop("source")
        market = {name: params.pop(name) for name in ("scenario", "trace")}
        where = report_folder(folder)
        try:
            advice = advise_on(
                **params,
                own_history=source == "own history",
                plot=str(where / f"spot-advice-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.svg"),
                **{name: value for name, value in market.items() if name == source},
            )
        except InvalidInput as error:
            raise AirflowFailException(f"{error.field} is {error.value!r}: {error.way_out}") from error
        except (InvalidTrace, OSError) as error:
            raise AirflowFailException(str(error)) from error
        print(advice["text"])
        print(f"Plot: {advice['plot']}")
        return advice

    advise("{{ var.value.get('spot_report_folder', '') }}")


advise_on_spot()
