"""The findings of a task: what it is exposed to, and what could not be checked."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from . import codes
from .classes import OTHERS, Kind, Source
from .tasks import Task, assigned_name, takes_stopped_for_success
from .values import MISSING, Record, Unknown, Value, is_template

#: The provider's defaults for `max_attempts` and `check_interval`.
_ATTEMPTS, _INTERVAL = 60, 30
#: Starting and uploading are not in MaxRuntimeInSeconds.
_AROUND_RUN_SECONDS = 1800
#: What the provider does not cast.
_NOT_CAST = (
    ("EnableManagedSpotTraining",),
    ("StoppingCondition", "MaxWaitTimeInSeconds"),
    ("StoppingCondition", "MaxPendingTimeInSeconds"),
    ("RetryStrategy", "MaximumRetryAttempts"),
)
#: Arguments that decide about findings.
_DECIDING = ("wait_for_completion", "print_log", "deferrable", "max_ingestion_time", "check_if_job_exists")
_SDK_STOPPED = "sagemaker/session.py, _check_job_status, SageMaker SDK 2.257.7"
_SDK3_STOPPED = "sagemaker/core/resources.py, TrainingJob.wait, SageMaker SDK 3.27.0"
_WAITER_STOPPED = "botocore/data/sagemaker/2017-07-24/waiters-2.json, TrainingJobCompletedOrStopped"
_OWN_CODE = "the Dag file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a task is exposed to."""

    task: Task
    code: str
    message: str
    #: Where it is seen, if not where the code says.
    source: str = ""
    line: int = 0

    @property
    def at_line(self) -> int:
        return self.line or self.task.line

    @property
    def seen_in(self) -> str:
        return self.source or str(codes.CODES[self.code].source)


def findings_of(task: Task, source: Source, others: list[Task], *, defers: bool = False) -> list[Finding]:
    """What one task is exposed to. `others` are the tasks of the same file, `defers` is Airflow's default."""
    look = _Look(task, source, others, defers)
    match task.kind:
        case Kind.OPERATOR:
            look.operator()
        case Kind.SENSOR:
            look.sensor()
        case Kind.HOOK | Kind.CLIENT:
            look.code()
        case Kind.SDK:
            look.sdk()
        case Kind.OTHER:
            look.other()
        case Kind.OURS:
            look.ours()
    return look.found


def spot_of(config: Value) -> bool | None:
    """Whether a config asks for spot; `None` if only a run can tell. Without the field it does not."""
    value = config.get("EnableManagedSpotTraining") if isinstance(config, Record) else config
    match value:
        case bool():
            return value
        case str() if not is_template(value):
            return value.strip().lower() in {"true", "1"}
        case _ if value is MISSING:
            return False
    return None


def is_wait_too_short(config: Value) -> bool:
    """Whether a config's `MaxWaitTimeInSeconds` is known to be less than its `MaxRuntimeInSeconds`."""
    if not isinstance(config, Record):
        return False
    wait = _seconds(config.get("StoppingCondition", "MaxWaitTimeInSeconds"))
    runtime = _seconds(config.get("StoppingCondition", "MaxRuntimeInSeconds"))
    return wait is not None and runtime is not None and wait < runtime


@dataclass(slots=True)
class _Look:
    task: Task
    source: Source
    others: list[Task]
    defers: bool
    found: list[Finding] = field(default_factory=list)

    def _add(self, code: str, message: str, *, source: str = "", line: int = 0) -> None:
        self.found.append(Finding(task=self.task, code=code, message=message, source=source, line=line))

    # The provider's classes ---------------------------------------------------------------------------

    def operator(self) -> None:
        self._import()
        subclass = self.task.subclass
        if subclass is not None and "execute" in subclass.methods:
            self._add(codes.NOT_CHECKED, f"{subclass.name} has its own execute: not looked at")
            return
        if subclass is not None and "__init__" in subclass.methods:
            self._add(codes.NOT_CHECKED, f"{subclass.name} has its own __init__: arguments are not looked at")
        else:
            self._arguments()
            self._config()
        self._second_job()
        self._never_stopped()

    def sensor(self) -> None:
        self._import()
        if self.task.subclass is not None and self.task.subclass.methods:
            methods = ", ".join(sorted(self.task.subclass.methods))
            self._add(codes.NOT_CHECKED, f"{self.task.subclass.name} has its own {methods}: not looked at")
            return
        self._add(codes.SENSOR_KEY_ERROR, "a stopped job fails it with KeyError: 'FailureReason'")
        self._logs_elsewhere(self.task.arguments.flag("print_log", default=True))

    def ours(self) -> None:
        """What our operator cannot help: spot without checkpoints."""
        policy = self.task.arguments.get("policy")
        for config in self.task.configs:
            if isinstance(policy, Unknown) or policy == "on_demand" or not isinstance(config, Record):
                continue
            is_spot = spot_of(config) or config.get("EnableManagedSpotTraining") is MISSING
            if is_spot and config.get("CheckpointConfig") is MISSING:
                self._add(codes.NO_CHECKPOINTS, "an interruption loses all work: no CheckpointConfig")

    def _import(self) -> None:
        gone = [name for name in self.task.dotted if "contrib" in name or "sagemaker_training." in name]
        if gone and len(gone) == len(self.task.dotted):
            self._add(codes.IMPORT_GONE, f"there is no {gone[0].rpartition('.')[0]} any longer")

    def _arguments(self) -> None:
        arguments = self.task.arguments
        waits = arguments.flag("wait_for_completion", default=True)
        defers = arguments.flag("deferrable", default=self.defers)
        prints = arguments.flag("print_log", default=True)
        self._unknown_arguments()
        if waits and defers is False and prints is False:
            self._add(codes.STOPPED_IS_SUCCESS, "print_log=False: a job that is out of wait is a success")
        if arguments.is_given("max_ingestion_time"):
            limit = arguments.get("max_ingestion_time")
            if isinstance(limit, int | float) and limit:
                self._add(codes.OUTLIVES_LIMIT, f"the task fails after {_duration(limit)}, the job trains on")
        if waits and defers:
            self._gives_up()
        if waits is False:
            self._not_waited_for()
        if waits and defers is False:
            self._add(codes.WRONG_BILL, "the billable seconds in the log are run time times instances")
        self._logs_elsewhere(prints)

    def _unknown_arguments(self) -> None:
        arguments = self.task.arguments
        unknown = [
            f"{name} {value.reason}"
            for name in (*_DECIDING, "max_attempts", "check_interval")
            if isinstance(value := arguments.get(name), Unknown) and value is not arguments.own.rest
        ]
        if arguments.own.rest is not None:
            unknown.append(f"arguments in a mapping that {arguments.own.rest.reason}")
        if arguments.default_args.rest is not None:
            unknown.append(f"default_args {arguments.default_args.rest.reason}")
        if unknown:
            self._add(codes.NOT_CHECKED, f"{'; '.join(unknown)}: not looked at")

    def _gives_up(self) -> None:
        attempts, interval = (
            self._number("max_attempts", _ATTEMPTS),
            self._number("check_interval", _INTERVAL),
        )
        if attempts is None or interval is None:
            return
        limit = attempts * interval
        longest = _longest_of([self._longest(config) for config in self.task.configs])
        if longest is not None and limit >= longest + _AROUND_RUN_SECONDS:
            return
        job = "the job trains on" if longest is None else f"the job may take {_duration(longest)}"
        self._add(
            codes.GIVES_UP,
            f"gives up after {_duration(limit)} ({attempts:g} checks): {job}",
        )

    def _number(self, name: str, default: int) -> float | None:
        value = self.task.arguments.get(name)
        if value is MISSING or value is None or value == 0:
            return default
        return value if isinstance(value, int | float) else None

    def _longest(self, config: Value) -> float | None:
        """How long a job may take, if the config says so."""
        spot = spot_of(config)
        if spot is None or not isinstance(config, Record):
            return None
        limits = [_seconds(config.get("StoppingCondition", "MaxRuntimeInSeconds"))]
        if spot:
            limits.append(_seconds(config.get("StoppingCondition", "MaxWaitTimeInSeconds")))
        return _longest_of(limits)

    def _not_waited_for(self) -> None:
        sensors = [task for task in self.others if _is_sensor(task)]
        if any(watches(sensor, self.task, self.source) for sensor in sensors):
            return
        if sensors:
            self._add(codes.NOT_WAITED_FOR, "wait_for_completion=False, and no sensor here names its job")
        else:
            self._add(codes.NOT_WAITED_FOR, "wait_for_completion=False, and no sensor in this file")

    def _second_job(self) -> None:
        arguments = self.task.arguments
        checks = arguments.flag("check_if_job_exists", default=True)
        if checks is False:
            message = "a retry asks for the same name and is refused, or makes a second job under a new one"
        elif arguments.get("action_if_job_exists") == "fail":
            message = "a retry fails, because the task's own job has the name; the job trains on"
        else:
            message = "a retry makes a second job, and both train"
        self._add(codes.SECOND_JOB, message)

    def _never_stopped(self) -> None:
        if self.task.subclass is not None and "on_kill" in self.task.subclass.methods:
            self._add(codes.NOT_CHECKED, f"{self.task.subclass.name} has its own on_kill: not looked at")
            return
        ends = ", marked or timed out" if self.task.arguments.is_given("execution_timeout") else " or marked"
        self._add(codes.NEVER_STOPPED, f"the job trains on if the task is killed{ends}")

    def _logs_elsewhere(self, prints: bool | None) -> None:
        given = [
            name
            for name in ("region_name", "verify", "botocore_config")
            if self.task.arguments.is_given(name) and not isinstance(self.task.arguments.get(name), Unknown)
        ]
        if prints and given:
            self._add(codes.LOGS_ELSEWHERE, f"the log is read without {', '.join(given)}")

    # The request --------------------------------------------------------------------------------------

    def _config(self) -> None:
        for config in self.task.configs:
            self._request(config)
        if any(spot_of(config) for config in self.task.configs):
            self._add(codes.NO_FALLBACK, "without spot capacity the task fails: no fallback")

    def _request(self, config: Value) -> None:
        if not isinstance(config, Record):
            if config is self.task.arguments.own.rest:
                return  # said of all arguments
            reason = config.reason if isinstance(config, Unknown) else _reason(config)
            self._add(codes.NOT_CHECKED, f"config {reason}: spot, checkpoints and limits are not looked at")
            return
        if config.rest is not None:
            self._add(codes.NOT_CHECKED, f"config {config.rest.reason}: what it adds is not looked at")
        self._text_not_cast(config)
        spot = spot_of(config)
        if spot is None:
            if config.rest is None:
                self._add(codes.NOT_CHECKED, "EnableManagedSpotTraining is computed at run time")
            return
        if spot and config.get("CheckpointConfig") is MISSING:
            self._add(codes.NO_CHECKPOINTS, "an interruption loses all work: no CheckpointConfig")
        self._wait(config, spot=spot)

    def _wait(self, config: Record, *, spot: bool) -> None:
        wait = config.get("StoppingCondition", "MaxWaitTimeInSeconds")
        if not spot:
            if (
                wait is not MISSING
                and not isinstance(wait, Unknown)
                and config.get("RetryStrategy") is MISSING
            ):
                self._add(codes.WAIT_REFUSED, "MaxWaitTimeInSeconds without EnableManagedSpotTraining")
            return
        if wait is MISSING:
            self._add(codes.WAIT_REFUSED, "EnableManagedSpotTraining without MaxWaitTimeInSeconds")
            return
        runtime = config.get("StoppingCondition", "MaxRuntimeInSeconds")
        longest, shortest = _seconds(wait), _seconds(runtime)
        if longest is None or (shortest is None and runtime is not MISSING):
            self._add(codes.NOT_CHECKED, "StoppingCondition is computed at run time: not looked at")
        elif is_wait_too_short(config):
            self._add(
                codes.WAIT_REFUSED,
                f"MaxWaitTimeInSeconds {longest:g} < MaxRuntimeInSeconds {shortest:g}",
            )

    def _text_not_cast(self, config: Record) -> None:
        text = {path[-1]: value for path in _NOT_CAST if isinstance(value := config.get(*path), str)}
        native = self.task.surroundings.renders_native
        if self.task.arguments.is_given("render_template_as_native_obj"):
            native = self.task.arguments.flag("render_template_as_native_obj", default=False)
        if native:
            text = {name: value for name, value in text.items() if not is_template(value)}
        if text:
            unless = "" if native is not None else ", unless the Dag renders native objects"
            self._add(codes.TEXT_NOT_CAST, f"text: {', '.join(text)}{unless}")

    # Trainings in Python code -------------------------------------------------------------------------

    def code(self) -> None:
        arguments = self.task.arguments
        if self.task.kind is Kind.HOOK:
            self._unknown_arguments()
            waits = arguments.flag("wait_for_completion", default=True)
            if waits and arguments.flag("print_log", default=True) is False:
                self._add(codes.STOPPED_IS_SUCCESS, "print_log=False: a job that is out of wait is a success")
            if arguments.is_given("max_ingestion_time"):
                self._add(codes.OUTLIVES_LIMIT, "max_ingestion_time raises, and the job trains on")
        else:
            waits = self._waits_by_client()
        if waits is False and not any(task.kind is Kind.SENSOR for task in self.others):
            self._add(codes.NOT_WAITED_FOR, "nothing in this file waits for the job", source=_OWN_CODE)
        self._config()
        self._code_that_retries()

    def _waits_by_client(self) -> bool:
        for waiter in takes_stopped_for_success(self.source):
            self._add(
                codes.STOPPED_IS_SUCCESS,
                "the waiter training_job_completed_or_stopped takes a stopped job for a success",
                source=_WAITER_STOPPED,
                line=waiter.lineno,
            )
        if not self._calls("get_waiter", "describe_training_job", "list_training_jobs"):
            return False
        if not any(finding.code == codes.STOPPED_IS_SUCCESS for finding in self.found):
            self._add(codes.NOT_CHECKED, "what its code makes of a stopped job is not looked at")
        return True

    def _code_that_retries(self) -> None:
        looks = self._calls("describe_training_job", "list_training_jobs", "search")
        unless = ", unless its code finds the running job: not looked at" if looks else ""
        self._add(
            codes.SECOND_JOB,
            f"a retry makes a second job, or is refused for the name{unless}",
            source=_OWN_CODE,
        )
        if self._calls("stop_training_job", "stop"):
            self._add(codes.NOT_CHECKED, "whether its code always stops the job is not looked at")
        else:
            self._add(codes.NEVER_STOPPED, "the job trains on if the task is killed", source=_OWN_CODE)

    def _calls(self, *methods: str) -> bool:
        return any(
            isinstance(call.func, ast.Attribute) and call.func.attr in methods
            for call in self.source.names.calls
        )

    def sdk(self) -> None:
        arguments = self.task.arguments
        is_estimator = "use_spot_instances" in arguments.own.entries
        self._add(
            codes.STOPPED_IS_SUCCESS,
            "the SDK returns normally from a job that is out of wait",
            source=_SDK_STOPPED if is_estimator else _SDK3_STOPPED,
        )
        if is_estimator:
            self._estimator()
        else:
            self._add(codes.NOT_CHECKED, "checkpoints and limits of the ModelTrainer are not looked at")
        self._code_that_retries()

    def _estimator(self) -> None:
        own = self.task.arguments.own
        if isinstance(own.get("use_spot_instances"), Unknown):
            self._add(codes.NOT_CHECKED, "use_spot_instances is computed at run time: not looked at")
        if own.get("checkpoint_s3_uri") is MISSING:
            self._add(codes.NO_CHECKPOINTS, "an interruption loses all work: no checkpoint_s3_uri")
        wait, runtime = own.get("max_wait"), _seconds(own.get("max_run"))
        longest = _seconds(wait)
        if wait is MISSING or (longest is not None and runtime is not None and longest < runtime):
            self._add(codes.WAIT_REFUSED, "use_spot_instances needs max_wait >= max_run")

    def other(self) -> None:
        rest = self.task.arguments.own.rest
        known = next((OTHERS[name] for name in self.task.dotted if name in OTHERS), "it is")
        self._add(codes.NOT_CHECKED, f"{rest.reason if rest else known} not looked at")


def watches(sensor: Task, operator: Task, source: Source) -> bool:
    """Whether a sensor is seen to wait for the job of an operator: by its task, or by the job's name."""
    name = _job_of(sensor)
    if name is None:
        return False
    variable = assigned_name(operator, source.names)
    if any(isinstance(node, ast.Name) and node.id == variable for node in ast.walk(name)):
        return True
    text = source.values.of(name)
    quoted = (f"'{operator.full_id}'", f'"{operator.full_id}"')
    is_pulled = isinstance(text, str) and is_template(text) and any(name in text for name in quoted)
    return is_pulled or is_same_job(sensor, operator, source)


def is_same_job(sensor: Task, operator: Task, source: Source) -> bool:
    """Whether a sensor names the job as the operator's config does."""
    name, given = _job_of(sensor), job_name_of(operator)
    if name is None or given is None:
        return False
    if ast.dump(name) == ast.dump(given):
        return True
    one, other = source.values.of(name), source.values.of(given)
    return isinstance(one, str) and one == other


def _is_sensor(task: Task) -> bool:
    return task.kind is Kind.SENSOR or "spot_training.sensors.SpotTrainingSensor" in task.dotted


def _longest_of(seconds: list[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return max(known) if known and len(known) == len(seconds) else None


def _job_of(sensor: Task) -> ast.expr | None:
    nodes = sensor.arguments.own.nodes
    return nodes.get("job_name") or nodes.get("training_job_name")


def job_name_of(operator: Task) -> ast.expr | None:
    """What the config gives as the job's name."""
    names = [config.nodes.get("TrainingJobName") for config in operator.configs if isinstance(config, Record)]
    return names[0] if len(names) == 1 else None


def _seconds(value: Value) -> float | None:
    match value:
        case bool():
            return None
        case int() | float():
            return value
        case str() if value.strip().isdigit():
            return int(value)
    return None


def _reason(config: Value) -> str:
    if config is MISSING:
        return "is not in the call"
    return "is a template" if is_template(config) else "is not a mapping"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes >= 120:
        return f"{minutes / 60:.3g} h"
    return f"{minutes:g} min" if minutes >= 1 and minutes == int(minutes) else f"{seconds:g} s"
