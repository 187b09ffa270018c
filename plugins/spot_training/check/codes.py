"""What a training task can be exposed to: the codes, where each is seen, and the way out."""

from __future__ import annotations

from dataclasses import dataclass

#: The version of the Amazon provider that the sources name.
PROVIDER = "9.39.0"
_AWS = "https://docs.aws.amazon.com/sagemaker/latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where it is seen: a line of the Amazon provider, or a page of AWS."""

    where: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.where}:{self.line}, Amazon provider {PROVIDER}" if self.line else self.where


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One kind of finding."""

    title: str
    source: Source
    way_out: str


STOPPED_IS_SUCCESS = "SPOT001"
NO_FALLBACK = "SPOT002"
SECOND_JOB = "SPOT003"
NEVER_STOPPED = "SPOT004"
OUTLIVES_LIMIT = "SPOT005"
GIVES_UP = "SPOT006"
SENSOR_KEY_ERROR = "SPOT007"
NOT_WAITED_FOR = "SPOT008"
NO_CHECKPOINTS = "SPOT009"
WAIT_REFUSED = "SPOT010"
TEXT_NOT_CAST = "SPOT011"
LOGS_ELSEWHERE = "SPOT012"
WRONG_BILL = "SPOT013"
IMPORT_GONE = "SPOT014"
NOT_CHECKED = "SPOT099"

CODES = {
    STOPPED_IS_SUCCESS: Code(
        title="A stopped job is taken for a success, also after MaxWaitTimeExceeded.",
        source=Source(where="hooks/sagemaker.py", line=750),
        way_out="SpotTrainingOperator decides by why the job ended.",
    ),
    NO_FALLBACK: Code(
        title="Spot capacity that does not come fails the training: SageMaker has no fallback to on-demand.",
        source=Source(where=f"{_AWS}/dg/model-managed-spot-training.html"),
        way_out="SpotTrainingOperator tries again, then buys on-demand. policy='spot_only' never does.",
    ),
    SECOND_JOB: Code(
        title="A retry after a crash, a throttled call or a clear does not find the running job.",
        source=Source(where="operators/sagemaker.py", line=184),
        way_out="SpotTrainingOperator continues with the running job.",
    ),
    NEVER_STOPPED: Code(
        title="Nothing stops the job: it trains and costs on after the task is killed, marked or timed out.",
        source=Source(where="operators/sagemaker.py", line=1182),
        way_out="SpotTrainingOperator stops it (stop_job_on_kill).",
    ),
    OUTLIVES_LIMIT: Code(
        title="max_ingestion_time fails the task, and the job trains on.",
        source=Source(where="hooks/sagemaker.py", line=840),
        way_out="training_timeout of SpotTrainingOperator stops the job.",
    ),
    GIVES_UP: Code(
        title="A deferred task gives up after max_attempts checks, 60 by default, while the job trains on.",
        source=Source(where="operators/sagemaker.py", line=1242),
        way_out="SpotTrainingOperator waits until the training is over.",
    ),
    SENSOR_KEY_ERROR: Code(
        title="The sensor fails with KeyError: 'FailureReason' for each stopped job, and hides the cause.",
        source=Source(where="sensors/sagemaker.py", line=269),
        way_out="SpotTrainingSensor says why the job ended. With a policy, it falls back.",
    ),
    NOT_WAITED_FOR: Code(
        title="The task succeeds when the job is created, whatever becomes of it.",
        source=Source(where="operators/sagemaker.py", line=1354),
        way_out="Wait for it, or add SpotTrainingSensor(training_job_name=train.output).",
    ),
    NO_CHECKPOINTS: Code(
        title="Spot without CheckpointConfig: each interruption loses all work.",
        source=Source(where=f"{_AWS}/dg/model-checkpoints.html"),
        way_out="Add a CheckpointConfig, and test the script with spot-drill.",
    ),
    WAIT_REFUSED: Code(
        title="AWS refuses the request: MaxWaitTimeInSeconds is for spot, and >= MaxRuntimeInSeconds.",
        source=Source(where=f"{_AWS}/APIReference/API_StoppingCondition.html"),
        way_out="Correct StoppingCondition. SpotTrainingOperator sets the wait of each attempt.",
    ),
    TEXT_NOT_CAST: Code(
        title="Text where the request needs a number or a boolean: the provider casts only three integers.",
        source=Source(where="operators/sagemaker.py", line=1263),
        way_out="SpotTrainingOperator casts every value. Or render_template_as_native_obj=True on the Dag.",
    ),
    LOGS_ELSEWHERE: Code(
        title="The training's log is read without the task's region_name, verify and botocore_config.",
        source=Source(where="hooks/sagemaker.py", line=164),
        way_out="SpotTrainingOperator reads the log in the job's region. Or set the connection's region.",
    ),
    WRONG_BILL: Code(
        title="The billable seconds in the task log are the run time, not what AWS bills for spot.",
        source=Source(where="hooks/sagemaker.py", line=1309),
        way_out="SpotTrainingOperator reports AWS's BillableTimeInSeconds, over all attempts.",
    ),
    IMPORT_GONE: Code(
        title="The import fails: the Amazon provider has no such module any longer.",
        source=Source(where=f"airflow.providers.amazon.aws, Amazon provider {PROVIDER}"),
        way_out="Import from spot_training, or from airflow.providers.amazon.aws.operators.sagemaker.",
    ),
    NOT_CHECKED: Code(
        title="Not checked: it is only known at run time. This is not a sign that it is good.",
        source=Source(where="the Dag file"),
        way_out="Look at it yourself, with the page docs/migration.md.",
    ),
}
