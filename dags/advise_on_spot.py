"""Advise on a training: which policy, which max wait, what it will cost and when it will be complete."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, get_current_context, task

from spot_training.compat import AirflowFailException
from spot_training.forms import DURATION, duration

PARAMS = {
    "work": duration(
        "6h",
        optional=True,
        # Or the mapping that the operator's `expected_runtime` takes, as JSON.
        pattern=rf"{DURATION}|^$|^\{{",
        maxLength=1000,
        title="Run time",
        description=(
            'How long the training takes. For example: 6h, 1d 6h, or {"mean": "5h", "high": "8h"}. If empty, '
            "learned from past runs of the Model below."
        ),
    ),
    "model": Param(
        None,
        type=["null", "string"],
        maxLength=1000,
        title="Model",
        description=(
            "Only if Run time is empty, and then required: the TrainingJobName of the operator. For example: "
            "flight-delays."
        ),
    ),
    "deadline": duration(
        "14h",
        title="Deadline",
        maxLength=1000,
        description="The time from submission to the deadline, more than the Run time. For example: 14h, 2d.",
        examples=["14h", "2d"],
    ),
    "instance_type": Param(
        "ml.m5.xlarge",
        type="string",
        maxLength=1000,
        title="Instance type",
        description="For the price, the own history and past runs. For example: ml.m5.xlarge.",
    ),
    "source": Param(
        "scenario",
        type="string",
        section="Spot market",
        enum=["own history", "scenario", "trace"],
        title="Spot market",
        description=(
            "When spot capacity is there. own history: what the ledger has of the Instance type in the last "
            "week. scenario, trace: the field below."
        ),
    ),
    "scenario": Param(
        "3h/40m",
        type=["null", "string"],
        section="Spot market",
        maxLength=1000,
        pattern=r"^$|^[^/]+/[^/]+$",
        title="Scenario",
        description=(
            "Only with the spot market scenario, and then required: the mean times with and without spot "
            "capacity. For example: 3h/40m."
        ),
    ),
    "trace": Param(
        None,
        type=["null", "string"],
        section="Spot market",
        maxLength=1000,
        title="Trace",
        description=(
            "Only with the spot market trace, and then required: a capacity trace (JSON), as a path on the "
            "worker or an object storage URL. For example: s3://my-bucket/trace.json."
        ),
    ),
    "further_types": Param(
        None,
        type=["null", "string"],
        section="Spot market",
        maxLength=1000,
        title="Further instance types",
        description=(
            "Only for a training that may run on any of several types: with the spot market own history, the "
            "names of the others; with scenario or trace, one scenario or trace for each. Separate them with "
            "commas. For example: ml.m5.2xlarge, ml.m6i.xlarge, or 2h/1h, 5h/3h. They count with the "
            "price and speed of the Instance type."
        ),
    ),
    "on_demand_price": Param(
        None,
        type=["null", "number"],
        section="Prices",
        exclusiveMinimum=0,
        title="On-demand price",
        description=(
            "US dollars per instance hour. For example: 0.23. If empty, the configured price of the Instance "
            "type."
        ),
    ),
    "price_ratio": Param(
        0.318,
        type="number",
        section="Prices",
        minimum=0,
        title="Spot price",
        description="As a share of the on-demand price. For example: 0.3 for 70 % less.",
    ),
    "max_runtime": duration(
        None,
        optional=True,
        section="The operator's options",
        maxLength=1000,
        title="Max run time",
        description=(
            "MaxRuntimeInSeconds of the request, at least the Run time. For example: 12h. If empty, 1d, as "
            "in SageMaker."
        ),
    ),
    "deadline_reserve": duration(
        None,
        optional=True,
        section="The operator's options",
        shortest="0s",
        maxLength=1000,
        title="Deadline reserve",
        description="More time to keep free before the deadline. For example: 30m. If empty, none.",
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
        further = [text.strip() for text in (params.pop("further_types") or "").split(",") if text.strip()]
        market = {name: params.pop(name) for name in ("scenario", "trace")}
        if not market.get(source, True):
            way_out = f"the spot market is {source}, which needs it. Give it, or choose another spot market."
            raise AirflowFailException(f"{source} is {market[source]!r}: {way_out}")
        if source == "own history":
            params["instance_type"] = [params["instance_type"], *further]
        else:
            market[f"also_{source}"] = further
        where = report_folder(folder)
        try:
            advice = advise_on(
                **params,
                own_history=source == "own history",
                plot=str(where / f"spot-advice-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.svg"),
                **{name: value for name, value in market.items() if name.removeprefix("also_") == source},
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
