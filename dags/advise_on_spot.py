"""Advise on a training: which policy, what max wait, what it will cost and when it will be done."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException


def _text(default: str, title: str, description: str) -> Param:
    return Param(default, type="string", maxLength=1000, title=title, description=description)


def _optional(title: str, description: str) -> Param:
    # Airflow's form requires every text that may not be null. Empty text is null there, and was "" before.
    return Param(None, type=["null", "string"], maxLength=1000, title=title, description=description)


PARAMS = {
    "work": Param(
        "6h",
        type=["null", "string"],
        maxLength=1000,
        title="Run time",
        description="How long the training itself takes, like 6h. Empty: learned from the model's past runs.",
    ),
    "model": _optional("Model", "The TrainingJobName of its operator. Required if the run time is empty."),
    "deadline": _text("14h", "Deadline", "After submission, like 14h."),
    "instance_type": _text("ml.m5.xlarge", "Instance type", "For its price and its history."),
    "source": Param(
        "scenario",
        type="string",
        enum=["own history", "scenario", "trace"],
        title="Spot market",
        description=(
            "The scenario or the trace below, or what the ledger saw of the instance type in the last week "
            "(own history)."
        ),
    ),
    "scenario": Param(
        "3h/40m",
        type=["null", "string"],
        maxLength=1000,
        title="Scenario",
        description="Mean time with spot capacity, and without. Required if it is the spot market.",
    ),
    "trace": _optional(
        "Trace",
        "A capacity trace (JSON): a path on the worker, or any object storage URL. Required if it is the "
        "spot market.",
    ),
    "on_demand_price": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        title="On-demand price",
        description="Dollars per instance hour. Empty: from the installation's prices.",
    ),
    "price_ratio": Param(
        0.318,
        type="number",
        minimum=0,
        title="Spot price",
        description="What an hour of spot costs, as a share of the on-demand price.",
    ),
    "max_runtime": _optional(
        "Max run time", "The request's MaxRuntimeInSeconds. Empty: one day, as in SageMaker."
    ),
    "deadline_reserve": _optional("Deadline reserve", "The operator's: more time to keep free, like 30m."),
}


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params=PARAMS,
    tags=["sagemaker", "spot", "advice"],
    doc_md=__doc__
    + """

Runs by hand, in seconds, and touches no training. Every policy is walked over the spot market (the ledger's
own history, a scenario or a trace), with what the operator keeps free before a deadline. The table and the
advice end the log of `advise`; all figures are its XCom. The plot (cost against deadline per policy, with
misses) goes into the folder of the Airflow Variable `spot_report_folder` (default: `reports` beside the Dags
folder; any object storage URL works). See `docs/policies.md`.
""",
)
def advise_on_spot() -> None:
    @task
    def advise(folder: str) -> dict[str, Any]:
        """Walk every policy, tell the table, draw the plot."""
        from datetime import UTC, datetime

        from airflow.sdk import ObjectStoragePath

        from spot_training.advise import advise_on
        from spot_training.domain.errors import InvalidInput, InvalidTrace

        context: Any = get_current_context()
        params = dict(context["params"])
        source = params.pop("source")
        market = {name: params.pop(name) for name in ("scenario", "trace")}
        where = ObjectStoragePath(folder or f"file://{_default_folder()}")
        where.mkdir(parents=True, exist_ok=True)
        try:
            told = advise_on(
                **params,
                own_history=source == "own history",
                plot=str(where / f"spot-advice-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.svg"),
                **{name: value for name, value in market.items() if name == source},
            )
        except InvalidInput as error:
            raise AirflowFailException(f"{error.field} is {error.value!r}: {error.way_out}") from error
        except (InvalidTrace, OSError) as error:
            raise AirflowFailException(str(error)) from error
        print(told["text"])
        print(f"Plot: {told['plot']}")
        return told

    advise("{{ var.value.get('spot_report_folder', '') }}")


def _default_folder() -> str:
    from pathlib import Path

    from airflow.sdk.configuration import conf

    return str(Path(conf.get("core", "dags_folder")).parent / "reports")


advise_on_spot()
