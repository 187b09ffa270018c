"""Runs of the chaos Dag, and the promise they must keep.

Whatever dies, at whatever moment: at most one training job of a task is alive; none is left alive that no
task will look at again; no attempt and no second of billing is missing from the ledger.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, cast

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader

from include.local_stack import (
    CELERY_COMPONENTS,
    DEFAULT_COMPONENTS,
    AirflowApi,
    AirflowApiError,
    Frozen,
    LocalStack,
    LocalStackError,
    Postgres,
    Redis,
    build_celery_env,
    build_database_env,
    describe_missing_programs,
    wait_until,
)
from include.local_stack.environment import airflow_python
from include.local_stack.waiting import patience
from spot_training.domain.instance_types import kind_of
from spot_training.domain.lifecycle import Ending, ending_of
from spot_training.domain.records import TrainingRecord
from spot_training.domain.scouting import RUN_SECONDS
from spot_training.ledger import Ledger
from spot_training.sagemaker.descriptions import snapshot_of
from spot_training.sagemaker.identity import TAG_RUN, TAG_SCOUT, TAG_STOPPED_FOR, slug
from spot_training.training.state import STATE_KEY

ROOT = Path(__file__).resolve().parents[2]
DAG, TASK, POOL = "chaos", "train", "chaos"
#: Four Dags: the task trains, or watches a job started elsewhere; Airflow tries it again, or not.
DAGS = (DAG, "chaos_once", "chaos_watch", "chaos_watch_once")
#: Two whose author changes `retries`, and one with an `execution_timeout`.
RAISED, LOWERED, LIMITED = "chaos_raised", "chaos_lowered", "chaos_limited"
ALL_DAGS = (*DAGS, RAISED, LOWERED, LIMITED)
#: `retries` of the two before their author changes them.
RETRIES = {RAISED: 1, LOWERED: 3}
OVER = frozenset({"Completed", "Failed", "Stopped"})
HOME, AWAY = "us-east-1", "eu-west-1"
#: The tag of jobs that nobody's task made: the run that they are there for.
TAG_FOR_RUN = "chaos:for-run"
#: More than the longest outage.
PATIENCE_WITH_AWS_SECONDS = 300
#: Ten simulated minutes a second.
SPEED = 600
#: The time until the deadline, in expected run times, of a training that goes back to spot: when an ordinary
#: launch could be over, it starts on demand.
DEADLINE = 1.22
#: More, and two cores cannot start them all before Airflow misses their heartbeats.
TASKS_AT_ONCE = 16
#: Types with a temper of their own in `market.yaml`; every other type does what its one run is told.
SLOW_TO_STOP, INTERRUPTED_EVERY_MINUTE, FLAPPING = "ml.c4.8xlarge", "ml.c5.9xlarge", "ml.c5.18xlarge"
KILL_POINTS = (
    "before-intent",
    "after-intent",
    "during-create",
    "after-create",
    "before-defer",
    "before-record",
    "between-attempts",
    "while-pushing",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run: where its worker is held or dies, and what spot does to it. Seconds are simulated ones.

    A task that `dies_alone` loses its own process only, not its worker.
    A job that `stumbles` is interrupted after a minute, and waits until its type gets capacity again.
    With `watches` the task is a sensor on a job that was started before the run; on a worker it `looks` as a
    sensor's mode says. The task's first trigger fails after so many real seconds. `dag` is one of the Dags
    beside the first four; `connection` an Airflow connection of the run's own. With several `types`, none of
    them has capacity at first, and scouts of the task run for `scout_seconds`. `fault_at` has a fault of the
    local cloud for a point. With `goes_back`, the training has a deadline that sends it on demand early, and
    leaves on-demand for spot; `expected` is the run time that it expects.
    """

    kill_at: tuple[str, ...] = ()
    dies_alone: bool = False
    hold_at: tuple[str, ...] = ()
    deferrable: bool = True
    has_capacity: bool = True
    stumbles: bool = False
    seconds: int = 600
    max_run: int = 7200
    first_wait: int = 7200
    policy: str = "widen"
    training_timeout: int | None = None
    botocore_config: Mapping[str, Any] = field(default_factory=dict)
    found_state: Mapping[str, Any] | None = None
    watches: bool = False
    looks: str = "poke"
    has_retries: bool = True
    trigger_fails_after: float | None = None
    dag: str | None = None
    connection: str = "aws_default"
    types: int = 1
    goes_back: bool = False
    expected: int = 0
    scout_seconds: int = RUN_SECONDS
    fault_at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def dag_id(self) -> str:
        return self.dag or DAG + ("_watch" if self.watches else "") + ("" if self.has_retries else "_once")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What a person did to a run's task or job, and how it stood just before.

    `is_sure`: it was done, and at once. Where the API server was away, it may happen later, or never. `at` is
    AWS's time.
    """

    what: str
    at: datetime
    task_state: str | None
    alive: tuple[str, ...]
    is_sure: bool


@dataclass(slots=True, eq=False)
class Run:
    """A run of a chaos Dag and what it is judged by.

    `watched` is the job that was started elsewhere: nobody's to stop but its owner's. `neighbour` is a job of
    another installation's run of the same name. A run that `is_remade` was deleted, and triggered again under
    its old `run_id`. Scouts look for `instance_types`.
    """

    case: Case
    run_id: str
    instance_type: str
    conf: Mapping[str, Any]
    instance_types: tuple[str, ...] = ()
    watched: str | None = None
    neighbour: str | None = None
    is_remade: bool = False
    deeds: list[Deed] = field(default_factory=list)
    stopped_by_workers: list[Job] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def dag_id(self) -> str:
        return self.case.dag_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A training job as SageMaker tells it. `ending` is what its statuses say, whoever stopped it."""

    name: str
    region: str
    tags: Mapping[str, str]
    status: str
    visited: tuple[str, ...]
    created_at: datetime
    ended_at: datetime | None
    billed_seconds: int
    ending: Ending | None
    instance_type: str
    is_spot: bool
    checkpoints: str | None

    @property
    def is_scout(self) -> bool:
        return TAG_SCOUT in self.tags

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def was_stopped(self) -> bool:
        """Whether somebody asked for its end, and not one of its own limits."""
        return self.ending is Ending.STOPPED_BY_USER

    @property
    def stopped_for(self) -> str | None:
        """The reason that a stop of ours left on it."""
        return self.tags.get(TAG_STOPPED_FOR)

    def lived_beside(self, other: Job) -> bool:
        """Whether both were alive at some moment."""
        latest = datetime.max.replace(tzinfo=UTC)
        mine, others = self.ended_at or latest, other.ended_at or latest
        return self.created_at < others and other.created_at < mine


class Regime(StrEnum):
    """How soon Airflow takes a silent process for dead."""

    QUICK = "quick"
    #: The same, but silence is taken for death later: in many schedules only a task's process dies.
    PATIENT = "patient"
    #: Airflow's own thresholds. Here the task state goes with each success, too (`clear_on_success`).
    DEFAULTS = "defaults"

    @property
    def threshold_seconds(self) -> float:
        """After so long without a heartbeat a triggerer's triggers, and a scheduler's tasks, go to others."""
        return {Regime.QUICK: 10, Regime.PATIENT: 25, Regime.DEFAULTS: 30}[self]

    @property
    def settings(self) -> dict[str, str]:
        if self is Regime.DEFAULTS:
            return {"AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS": "True"}
        is_quick, threshold = self is Regime.QUICK, f"{self.threshold_seconds:g}"
        return {
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15" if is_quick else "60",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            # Tasks of a scheduler that was killed are taken over by the next one at this check only.
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": threshold if is_quick else "60",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": threshold,
        }


#: What runs twice: what one of them drops, the other takes over.
TWICE = ("scheduler:2", "triggerer:2")


@contextmanager
def chaos_lab(
    state: Path, *, has_celery: bool = False, clock_offset: float = 0, regime: Regime = Regime.QUICK
) -> Iterator[Lab]:
    """Airflow with the chaos Dags, two schedulers and two triggerers, and a local SageMaker of two regions.

    A lost worker is noticed within seconds.

    On a private Postgres where the machine has one: on SQLite Airflow's API server may block itself for long.
    `has_celery` needs it, and Redis. `clock_offset`: how many seconds AWS's clock is ahead of ours at first.
    """
    with contextlib.ExitStack() as life:
        postgres, env = None, {}
        if has_celery or not describe_missing_programs():
            postgres = life.enter_context(Postgres())
            env = build_database_env(postgres)
        if has_celery:
            assert postgres is not None
            env = build_celery_env(postgres, life.enter_context(Redis()), concurrency=TASKS_AT_ONCE)
        components = (*(CELERY_COMPONENTS if has_celery else DEFAULT_COMPONENTS), *TWICE)
        stack = life.enter_context(_chaos_stack(state, env, components, clock_offset, regime))
        yield Lab(stack, postgres, regime)


@contextmanager
def _chaos_stack(
    state: Path, env: Mapping[str, str], components: Sequence[str], clock_offset: float, regime: Regime
) -> Iterator[LocalStack]:
    dags = state / "dags"
    dags.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(state / "state" / "graves", ignore_errors=True)  # of an earlier lab in the same folder
    shutil.copy(Path(__file__).parent / "dags" / "chaos.py", dags)
    (dags / "retries.json").write_text(json.dumps(RETRIES))
    settings = {
        **regime.settings,
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        # Without it the sweeper only reports.
        "AIRFLOW__SPOT_TRAINING__SWEEPER_STOPS": "True",
        **env,
    }
    with LocalStack(
        ROOT,
        state / "state",
        speed=SPEED,
        market=Path(__file__).with_name("market.yaml"),
        sagemaker_options=[f"--clock-offset={clock_offset:g}", f"--region={AWAY}"],
        dags_folder=dags,
        env=settings,
        parallelism=TASKS_AT_ONCE,
        components=components,
    ) as stack:
        stack.boto3_client("s3").create_bucket(Bucket="chaos")  # so that checkpoints are seen
        stack.api.request("POST", "pools", body=_pool(slots=64))
        for dag_id in ALL_DAGS:
            stack.api.wait_for_dag(dag_id)
            stack.api.unpause(dag_id)
        yield stack


class Lab:
    """The stack, what is done to it, and what SageMaker says of its runs."""

    def __init__(
        self, stack: LocalStack, postgres: Postgres | None = None, regime: Regime = Regime.QUICK
    ) -> None:
        self.stack = stack
        self.postgres = postgres
        self._types = itertools.cycle(_instance_types("cmt"))
        self._stumbling_types = itertools.cycle(_instance_types("r"))
        self._deleted: list[tuple[str, Job]] = []
        self._mending = threading.Lock()
        self._regime = regime
        self.since: datetime | None = None
        self.ledger = stack.airflow_home / "spot_ledger"
        self.clients = {region: _PatientClient(stack.sagemaker_url, region) for region in (HOME, AWAY)}

    @property
    def sagemaker(self) -> _PatientClient:
        return self.clients[HOME]

    @property
    def api(self) -> AirflowApi:
        return self.stack.api

    # What is done to it ----------------------------------------------------------------------------

    def start(self, case: Case, run_id: str, *, instance_type: str | None = None) -> Run:
        """Trigger a run, by default on an instance type of its own, so that it has a market of its own."""
        if instance_type is None and case.stumbles:
            instance_type = next(self._stumbling_types)
        types: tuple[str, ...] = ()
        if case.types > 1 or case.goes_back:
            types = self._next_types(case.types)
            instance_type = types[0]
        if instance_type is None:
            instance_type = self.next_type(available=case.has_capacity)
        watched = self._start_elsewhere(case, run_id, instance_type) if case.watches else None
        conf = {
            "instance_type": instance_type,
            "seconds": case.seconds,
            "max_run": case.max_run,
            "deferrable": case.deferrable,
            "looks": case.looks,
            "hold_at": ",".join(case.hold_at),
            "kill_at": ",".join(case.kill_at),
            "fault_at": {point: dict(fault) for point, fault in case.fault_at.items()},
            "scout_seconds": case.scout_seconds,
            "dies_alone": case.dies_alone,
            "trigger_fails_after": case.trigger_fails_after,
            "policy": _policy_of(case, types),
            "deadline": f"{round(DEADLINE * case.expected)}s" if case.goes_back else None,
            "expected_runtime": _expected_runtime(case) if case.goes_back else None,
            "training_timeout": case.training_timeout,
            "training_job_name": watched or "",
            "botocore_config": dict(case.botocore_config),
            "connection": case.connection,
            "found_state": None if case.found_state is None else dict(case.found_state),
            "graves": str(self.graves),
        }
        run = Run(
            case=case,
            run_id=run_id,
            instance_type=instance_type,
            conf=conf,
            instance_types=types,
            watched=watched,
        )
        self.trigger(run)
        return run

    def next_type(self, *, available: bool) -> str:
        """An instance type that no other run of the moment has."""
        instance_type = next(self._types)
        self.set_capacity(instance_type, available=available)
        return instance_type

    def _next_types(self, count: int) -> tuple[str, ...]:
        """Several of which no other run of the moment has one, without capacity, that fit one script."""
        types: list[str] = []
        while len(types) < count:
            name = next(self._types)
            if str(kind_of(name)) == "x86-64, no accelerator":
                self.set_capacity(name, available=False)
                types.append(name)
        return tuple(types)

    def trigger(self, run: Run) -> None:
        self.api.trigger(run.dag_id, dict(run.conf), run_id=run.run_id)

    def _start_elsewhere(self, case: Case, run_id: str, instance_type: str) -> str:
        """Start a spot job as somebody with the SDK would; returns its name."""
        name = f"chaos-elsewhere-{slug(run_id)}"
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn="arn:aws:iam::123456789012:role/SageMakerTraining",
            AlgorithmSpecification={
                "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
                "TrainingInputMode": "File",
            },
            OutputDataConfig={"S3OutputPath": "s3://chaos/models"},
            ResourceConfig={"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": 10},
            EnableManagedSpotTraining=True,
            StoppingCondition={
                "MaxRuntimeInSeconds": case.max_run,
                "MaxWaitTimeInSeconds": case.first_wait,
            },
            CheckpointConfig={"S3Uri": f"s3://chaos/checkpoints/{name}"},
            Environment={"LOCAL_TRAINING_SECONDS": str(case.seconds)},
            Tags=[{"Key": TAG_FOR_RUN, "Value": run_id}],
        )
        return name

    def set_capacity(self, instance_type: str, *, available: bool) -> None:
        self.control("PUT", "capacity", {"instance_type": instance_type, "available": available})

    def interrupt(self, run: Run, *, notice_seconds: int = 120) -> None:
        """Interrupt the run's jobs that train on spot; the others have nothing to be interrupted."""
        for name in self.alive(run):
            body = {"training_job_name": name, "notice_seconds": notice_seconds}
            with contextlib.suppress(urllib.error.HTTPError):
                self.control("POST", "interrupt", body)

    def fail(self, operation: str, error: str, **how: float) -> None:
        """Inject a fault: `count`, `seconds`, `probability`, `delay_seconds`; see docs/local-sagemaker.md."""
        self.control("POST", "faults", {"operation": operation, "error": error, **how})

    def forgive(self) -> None:
        """Forget the faults that are still to come."""
        self.control("DELETE", "faults")

    def control(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.stack.sagemaker_url}/_local/{path}", method=method, data=data
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read())

    def aws_now(self) -> datetime:
        return datetime.fromisoformat(self.control("GET", "clock")["now"])

    def open_pool(self, slots: int = 64) -> None:
        """How many trainings may be on workers; with 0 whatever is due waits."""
        self.api.request("PATCH", f"pools/{POOL}", body=_pool(slots))

    def release(self, run: Run) -> None:
        """Let a held process of the run go on."""
        (self.graves / run.run_id).mkdir(parents=True, exist_ok=True)
        (self.graves / run.run_id / "release").touch()

    def sweep(self) -> str:
        """Stop the orphans and settle the books, with the sweeper's command; returns what it says.

        A job that it stops is put on record by the next sweep after the job's end.
        """
        login = {"AIRFLOW_USERNAME": self.stack.login.username, "AIRFLOW_PASSWORD": self.stack.login.password}
        command = [
            airflow_python(),
            "-m",
            "spot_training.sweep",
            "--airflow-url",
            self.stack.airflow_url,
            "--stop",
            "--ledger",
            str(self.ledger),
        ]
        done = subprocess.run(
            command, env=self.stack.env | login, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def revive(self) -> None:
        """Start again whatever ended by itself, as a supervisor of services would."""
        with self._mending:
            ended = [name for name, each in self.stack.processes.items() if each.exit_code is not None]
            if ended:
                self._start_again(*ended)

    def lose(self, *components: str) -> None:
        """Kill components and start them again; `connections` and `database` are those of Postgres."""
        with self._mending:
            match components:
                case ["connections"] if self.postgres:
                    self.postgres.drop_connections()
                case ["database"] if self.postgres:
                    self.postgres.kill()
                    self.postgres.start()
                case ["connections" | "database"]:
                    return  # SQLite has neither
                case _:
                    for component in components:
                        self.stack.kill(component)
                    self._start_again(*components)
        self.revive()

    def _start_again(self, *components: str) -> None:
        """Where what they need stands still they are not up in time, or end again: `revive` looks later."""
        with contextlib.suppress(LocalStackError):
            self.stack.restart(*components)

    def freeze(self, component: str) -> Frozen:
        """Stop the processes of a component; `tasks` are all that run on workers of LocalExecutor.

        A scheduler's tasks stand still with it, but for `scheduler alone`.
        """
        match component:
            case "database":
                return Frozen.of() if self.postgres is None else self.postgres.freeze()
            case "scheduler alone":
                return Frozen.of(self.stack.processes["scheduler"].pid)
            case _:
                return self.stack.freeze(component)

    def enter(self, regime: Regime) -> None:
        """Have Airflow's components run with the thresholds of a regime."""
        if regime is self._regime:
            return
        for name in self._regime.settings:
            self.stack.env.pop(name, None)
        self.stack.env.update(regime.settings)
        with self._mending:
            self.stack.restart(*(name for name in self.stack.processes if name != "local-sagemaker"))
        self._regime = regime

    def set_retries(self, dag_id: str, retries: int) -> None:
        """Change `retries` in a Dag's file, and wait until Airflow has read it."""
        dags = Path(self.stack.env["AIRFLOW__CORE__DAGS_FOLDER"])
        path = dags / "retries.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {dag_id: retries}))
        (dags / "chaos.py").touch()

        def look() -> bool:
            with contextlib.suppress(AirflowApiError, httpx.TransportError):
                return bool(self.api.request("GET", f"dags/{dag_id}/tasks/{TASK}")["retries"] == retries)
            return False

        until(look, f"{dag_id} to have retries={retries}")

    def lay_connection(self, name: str, region: str) -> None:
        """Make an Airflow connection to the local cloud, or change its region."""
        extra = json.dumps({"region_name": region})
        body = {
            "connection_id": name,
            "conn_type": "aws",
            "login": "local",
            "password": "local",
            "extra": extra,
        }
        try:
            self.api.request("PATCH", f"connections/{name}", body=body)
        except AirflowApiError as error:
            if error.status_code != httpx.codes.NOT_FOUND:
                raise
            self.api.request("POST", "connections", body=body)

    def delete_state(self, run: Run) -> None:
        """What a person can do in Airflow's UI."""
        path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{TASK}/state-store/{STATE_KEY}"
        self.api.request("DELETE", path)

    def delete_job(self, run: Run, job: Job) -> None:
        """DeleteTrainingJob, of one that is over. The lab does not forget it."""
        self.clients[job.region].delete_training_job(TrainingJobName=job.name)
        self._deleted.append((run.run_id, job))

    # What is seen ----------------------------------------------------------------------------------

    @property
    def graves(self) -> Path:
        return self.stack.state_dir / "graves"

    def is_held(self, run: Run) -> bool:
        return any((self.graves / run.run_id).glob("held-*"))

    def wait_until_watched(self, run: Run) -> None:
        """Wait until the task is deferred, and the triggerer looks after it: its trigger has begun a log."""
        folder = self._log_folder(run)
        self.api.wait_for_task(run.dag_id, run.run_id, TASK, states={"deferred"}, timeout_seconds=60)
        until(lambda: any(folder.glob("*.trigger.*")), f"a trigger for {run.run_id}")

    def _log_folder(self, run: Run) -> Path:
        logs = self.stack.airflow_home / "logs"
        return logs / f"dag_id={run.dag_id}" / f"run_id={run.run_id}" / f"task_id={TASK}"

    def task_log(self, run: Run, try_number: int) -> str:
        """What the processes of one try wrote, without the trigger's."""
        path = self._log_folder(run) / f"attempt={try_number}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def task_state(self, run: Run) -> str | None:
        """The training task's state; "gone" with its run, None also while the API server is away."""
        try:
            return cast("str | None", self.api.task_instance(run.dag_id, run.run_id, TASK)["state"])
        except AirflowApiError as error:
            return "gone" if error.status_code == httpx.codes.NOT_FOUND else None
        except httpx.TransportError:
            return None

    def tries(self, run: Run) -> int:
        """The number of the task's try; 0 while the API server is away."""
        with contextlib.suppress(AirflowApiError, httpx.TransportError):
            return int(self.api.task_instance(run.dag_id, run.run_id, TASK)["try_number"])
        return 0

    def run_state(self, run: Run) -> str | None:
        """The run's state; "gone" when it was deleted, None while the API server is away."""
        try:
            return str(self.api.get_run(run.dag_id, run.run_id)["state"])
        except AirflowApiError as error:
            return "gone" if error.status_code == httpx.codes.NOT_FOUND else None
        except httpx.TransportError:
            return None

    def jobs_of(self, run: Run) -> list[Job]:
        """The training jobs of a run, the newest first: also one it watches, and deleted ones; no scouts."""
        return [job for job in self.everything_of(run) if not job.is_scout]

    def scouts_of(self, run: Run) -> list[Job]:
        """The scouts of a run, the newest first."""
        return [job for job in self.everything_of(run) if job.is_scout]

    def everything_of(self, run: Run) -> list[Job]:
        """The training jobs and scouts of a run by their tags, the newest first.

        By Search, which no injected fault but an outage concerns.
        """
        wanted = [
            {"Name": f"Tags.{tag}", "Operator": "Equals", "Value": run.run_id}
            for tag in (TAG_RUN, TAG_FOR_RUN)
        ]
        expression: dict[str, Any] = {"Filters": wanted, "Operator": "Or"}
        if self.since is not None:
            since = {
                "Name": "CreationTime",
                "Operator": "GreaterThanOrEqualTo",
                "Value": self.since.isoformat(),
            }
            expression = {"SubExpressions": [expression], "Filters": [since], "Operator": "And"}
        jobs = [job for run_id, job in self._deleted if run_id == run.run_id]
        for region, client in self.clients.items():
            jobs += [_job_of(found, region) for found in client.search(expression)]
        jobs = [job for job in jobs if job.name != run.neighbour]
        return sorted(jobs, key=lambda job: job.created_at, reverse=True)

    def alive(self, run: Run) -> list[str]:
        return [job.name for job in self.everything_of(run) if not job.is_over]

    def own_alive(self, run: Run) -> list[str]:
        """The live jobs that the run's task made; what it only watches is somebody else's."""
        return [name for name in self.alive(run) if name != run.watched]

    def has_been(self, run: Run, status: str) -> bool:
        """Whether a job of the run has, or had, this secondary status."""
        return any(status in job.visited for job in self.jobs_of(run))

    def records_of(self, run: Run) -> list[TrainingRecord]:
        """What the ledger has of a run."""
        with Ledger.at(self.ledger).read() as reader:
            return [record for record in reader.records() if record.run_id == run.run_id]

    # The verdict -----------------------------------------------------------------------------------

    def watch(self, runs: Iterable[Run], *, timeout_seconds: float) -> None:
        """Wait until the runs are over; a run that is not by then has a problem."""
        waiting = list(runs)
        timeout_seconds *= patience()
        deadline = time.monotonic() + timeout_seconds
        while waiting and time.monotonic() < deadline:
            self.revive()
            waiting = [run for run in waiting if self.run_state(run) not in {"success", "failed", "gone"}]
            time.sleep(max(0.5, 0.1 * len(waiting)))  # to ask about one run takes Airflow 10 ms
        for run in waiting:
            run.problems.append(f"not over after {timeout_seconds:.0f} s: {self.task_state(run)}")

    def finish(self, runs: Sequence[Run], *, state: str = "success", timeout_seconds: float = 240) -> None:
        """Wait until the runs are over, and see whether they kept the promise."""
        self.watch(runs, timeout_seconds=timeout_seconds)
        for run in runs:
            if not run.problems:
                self.judge(run, state=state)
        check(runs)

    def judge(self, run: Run, *, state: str = "success") -> None:
        """Note where a run whose task ended by itself broke the promise."""
        found = self.run_state(run)
        if found != state:
            run.problems.append(f"the run is {found}, not {state}")
            return
        self.judge_jobs(run)
        attempts = self.api.xcom(run.dag_id, run.run_id, TASK, "attempts")
        self._compare(run, "XCom", attempts, self.jobs_of(run))
        self.judge_ledger(run)

    def judge_jobs(self, run: Run) -> None:
        """At most one job alive at any time, and none now; a watched one was left to its owner."""
        if alive := self.alive(run):
            run.problems.append(f"left alive: {alive}")
        jobs = self.jobs_of(run)
        for n, job in enumerate(jobs):
            run.problems += [
                f"alive at the same time: {job.name}, {other.name}"
                for other in jobs[n + 1 :]
                if job.lived_beside(other)
            ]
            if job.name == run.watched and job.ending is Ending.STOPPED_BY_USER:
                run.problems.append(f"stopped, and not ours: {job.name}")

    def judge_gone(self, run: Run) -> None:
        """Note where a run whose task could not see its job's end broke the promise; after a sweep."""
        self.judge_jobs(run)
        self.judge_ledger(run, is_cut_off=True)

    def judge_ledger(self, run: Run, *, is_cut_off: bool = False) -> None:
        """Every job of the run, and every scout, is in the ledger with its billed seconds.

        Of a finished training that was cleared, the ledger keeps the sum that the earlier jobs were billed.
        A task that was cut off may not have come to see the job that it was to watch.
        """
        found = self.records_of(run)
        recorded = [each.to_json() for record in found for each in (*record.attempts, *record.scouts)]
        unseen = run.watched if is_cut_off else None
        jobs = self.everything_of(run)
        self._compare(run, "the ledger", recorded, jobs, unseen=unseen)
        replaced = sum(record.replaced_instance_seconds or 0 for record in found)
        earlier_jobs = self._earlier_jobs(run, recorded, jobs)
        earlier = sum(job.billed_seconds for job in earlier_jobs if job.name != unseen)
        if replaced != earlier:
            run.problems.append(f"cleared away: {replaced} s by the ledger; {earlier} s by SageMaker")

    def _compare(
        self,
        run: Run,
        books: str,
        attempts: Sequence[Mapping[str, Any]],
        created: Sequence[Job],
        *,
        unseen: str | None = None,
    ) -> None:
        earlier = self._earlier_jobs(run, attempts, created)
        counted = sorted(name for attempt in attempts if (name := attempt["job_name"]))
        jobs = [job for job in created if job not in earlier]
        jobs = [job for job in jobs if job.name != unseen or unseen in counted]
        if counted != sorted(job.name for job in jobs):
            run.problems.append(f"in {books}: {counted}; created: {[job.name for job in jobs]}")
        billed = sum(attempt["billable_seconds"] or 0 for attempt in attempts)
        real = sum(job.billed_seconds for job in jobs)
        if billed != real:
            run.problems.append(f"billed by {books}: {billed} s; by SageMaker: {real} s")

    def _earlier_jobs(
        self, run: Run, attempts: Sequence[Mapping[str, Any]], jobs: Sequence[Job]
    ) -> list[Job]:
        """The jobs of an earlier story of the run, of which the books keep the sum.

        That is one from before a person cleared the finished training: its names have another digest. A run
        that was made again may take a live job of the first one and know nothing of the others. Of a job that
        was deleted, and then its task's state with it, only the books know.
        """
        counted = {attempt["job_name"] for attempt in attempts}
        deleted = {job.name for run_id, job in self._deleted if run_id == run.run_id}
        if run.is_remade:
            return [job for job in jobs if job.name not in counted]
        digests = {without_number(name) for name in counted - {run.watched}}
        return [
            job
            for job in jobs
            if job.name != run.watched
            and digests
            and (without_number(job.name) not in digests or job.name in deleted - counted)
        ]


class _PatientClient:
    """A SageMaker client that can look on while faults are injected for others: longer than any outage.

    botocore's own retries share one check among all threads, and do not last.
    """

    def __init__(self, url: str, region: str) -> None:
        self._client: Any = boto3.client(
            "sagemaker",
            endpoint_url=url,
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the local cloud takes any
            config=Config(retries={"mode": "standard", "total_max_attempts": 1}, max_pool_connections=50),
        )

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def ask(**params: Any) -> Any:
            deadline = time.monotonic() + PATIENCE_WITH_AWS_SECONDS
            while True:
                try:
                    return call(**params)
                except (BotoCoreError, ClientError) as error:
                    if _is_meant(error) or time.monotonic() > deadline:
                        raise
                time.sleep(0.2)

        return ask

    def search(self, expression: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The training jobs that match, over all pages."""
        token: dict[str, str] = {}
        while True:
            page = self._ask_for_page(expression, token)
            yield from (result["TrainingJob"] for result in page["Results"])
            if "NextToken" not in page:
                return
            token = {"NextToken": page["NextToken"]}

    def _ask_for_page(self, expression: Mapping[str, Any], token: Mapping[str, str]) -> Any:
        ask = self.__getattr__("search")
        return ask(Resource="TrainingJob", SearchExpression=expression, MaxResults=100, **token)


def _is_meant(error: BotoCoreError | ClientError) -> bool:
    """Whether the service refuses the call, and does not only fail or throttle it."""
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    return bool(code) and code not in {"ThrottlingException", "InternalFailure"}


def _job_of(found: Mapping[str, Any], region: str) -> Job:
    return Job(
        name=found["TrainingJobName"],
        region=region,
        tags={tag["Key"]: tag["Value"] for tag in found["Tags"]},
        status=found["TrainingJobStatus"],
        visited=tuple(visit["Status"] for visit in found["SecondaryStatusTransitions"]),
        created_at=found["CreationTime"],
        ended_at=found["SecondaryStatusTransitions"][-1].get("EndTime"),
        billed_seconds=found.get("BillableTimeInSeconds", 0),
        ending=ending_of(snapshot_of(found)),
        instance_type=found["ResourceConfig"]["InstanceType"],
        is_spot=found.get("EnableManagedSpotTraining", False),
        checkpoints=found.get("CheckpointConfig", {}).get("S3Uri"),
    )


def without_number(job_name: str) -> str:
    """What all jobs of one generation of a task share, and its scouts."""
    return job_name.rpartition("-")[0].replace("-scout-", "-")


def check(runs: Iterable[Run]) -> None:
    """Fail if any of the runs broke the promise."""
    broken = {run.run_id: run.problems for run in runs if run.problems}
    assert not broken, f"broke the promise: {json.dumps(broken, indent=2)}"


def _policy_of(case: Case, types: Sequence[str]) -> dict[str, Any]:
    several = {"instance_types": list(types)} if len(types) > 1 else {}
    if case.goes_back:
        return {"name": "deadline", "back_to_spot": True, **several}
    return {"name": case.policy, "first_wait": case.first_wait, "spot_attempts": 2, "factor": 1, **several}


def _expected_runtime(case: Case) -> dict[str, int]:
    return {"mean": case.expected, "high": case.expected, "checkpoint_every": 3600}


def _pool(slots: int) -> dict[str, Any]:
    # Airflow 3.0 wants them all.
    return {"name": POOL, "slots": slots, "description": "trainings on workers", "include_deferred": False}


def until(look: Any, what: str, *, timeout_seconds: float = 120, poll_seconds: float = 0.2) -> None:
    """Wait for a condition, for as long as it may take on a machine that is busy with other things."""
    wait_until(look, what, timeout_seconds=timeout_seconds, poll_seconds=poll_seconds)


@cache
def _instance_types(families: str) -> tuple[str, ...]:
    """Types of the families that begin with these letters, without those that have a temper of their own."""
    model = Loader().load_service_model("sagemaker", "service-2")
    types: list[str] = model["shapes"]["TrainingInstanceType"]["enum"]
    tempered = {SLOW_TO_STOP, INTERRUPTED_EVERY_MINUTE, FLAPPING}
    return tuple(name for name in types if name.split(".")[1][0] in families and name not in tempered)
