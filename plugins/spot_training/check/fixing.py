"""The change of a file to `SpotTrainingOperator` and `SpotTrainingSensor`: import, name and arguments.

A task is only changed if the file shows that the change is right. Otherwise there is a reason why not.
"""

from __future__ import annotations

import ast
import tokenize
from dataclasses import dataclass, field
from types import SimpleNamespace

from spot_training.domain.errors import InvalidInput
from spot_training.task.constants import check_constants

from .classes import Kind, Source
from .edits import Text
from .exposure import is_same_job, is_wait_too_short
from .names import Binding, Bound
from .rewriting import OURS_FOR, REMOVED, RENAMED, Writer, callee_of, purchase_of, root_of, star_import
from .tasks import Task, assigned_name, is_mapped
from .values import MISSING, Record, Unknown, is_template

#: What every task of Airflow 3 takes.
TASK_ARGUMENTS = frozenset({
    "task_id", "owner", "email", "email_on_retry", "email_on_failure", "retries", "retry_delay",
    "retry_exponential_backoff", "max_retry_delay", "start_date", "end_date", "depends_on_past",
    "ignore_first_depends_on_past", "wait_for_past_depends_before_skipping", "wait_for_downstream", "dag",
    "params", "default_args", "priority_weight", "weight_rule", "queue", "pool", "pool_slots",
    "execution_timeout", "on_execute_callback", "on_failure_callback", "on_success_callback",
    "on_retry_callback", "on_skipped_callback", "pre_execute", "post_execute", "trigger_rule",
    "run_as_user", "map_index_template", "max_active_tis_per_dag", "max_active_tis_per_dagrun",
    "executor", "executor_config", "do_xcom_push", "multiple_outputs", "inlets", "outlets", "task_group",
    "doc", "doc_md", "doc_json", "doc_yaml", "doc_rst", "task_display_name", "logger_name",
    "allow_nested_operators", "retry_policy", "render_template_as_native_obj", "sla", "resources",
})  # fmt: skip
SENSOR_TASK_ARGUMENTS = frozenset({
    "poke_interval", "timeout", "soft_fail", "mode", "exponential_backoff", "max_wait", "silent_fail",
    "never_fail",
})  # fmt: skip
_ACCESS = frozenset({"aws_conn_id", "region_name", "verify", "botocore_config"})
#: The provider's arguments that our classes take as they are.
OPERATOR_ARGUMENTS = _ACCESS | {
    "config", "wait_for_completion", "print_log", "check_interval", "deferrable", "region",
    "max_attempts", "max_ingestion_time", "check_if_job_exists", "action_if_job_exists",
}  # fmt: skip
SENSOR_ARGUMENTS = _ACCESS | {"job_name", "print_log"}
#: Ours that the provider does not have: in `default_args`, they would begin to work.
_NEW = frozenset(
    {"policy", "deadline", "budget", "caps", "expected_runtime", "training_timeout", "stop_job_on_kill"}
)
_NAMES_OF_OTHERS = frozenset({"task_id", "dag_id", "group_id", "tags", "pool", "queue", "owner"})

_MADE_BY_NAME = ("DAG", "TaskGroup", "dag", "task_group")


@dataclass(slots=True)
class Plan:
    """The new text of a file, what it changes, and what it leaves alone."""

    text: str
    fixed: list[Task] = field(default_factory=list)
    #: Why a task is not changed.
    left: dict[Task, str] = field(default_factory=dict)


def plan(source: Source, tasks: list[Task], *, spot: bool = False) -> Plan:
    """Plan the change of a file. With `spot`, trainings may use spot that do not say so."""
    return _Planner(source, tasks, spot).plan()


@dataclass(slots=True)
class _Planner:
    source: Source
    tasks: list[Task]
    spot: bool
    left: dict[Task, str] = field(default_factory=dict)
    #: The sensors that get the result of an operator, by the operator's variable.
    pairs: dict[Task, str] = field(default_factory=dict)

    def plan(self) -> Plan:
        for task in self.tasks:
            reason = self._reason(task)
            if reason:
                self.left[task] = reason
        self._leave_shared_names()
        chosen = self._chosen()
        if not chosen:
            return Plan(self.source.text, left=self.left)
        self._leave_other_names()
        while self._leave_partners():
            pass
        if not (chosen := self._chosen()):
            return Plan(self.source.text, left=self.left)
        try:
            text = Writer(self.source, Text(self.source.text), self.spot, self.pairs).write(chosen)
            ast.parse(text)
        except (SyntaxError, ValueError, tokenize.TokenError) as error:  # rather nothing than a broken file
            self.left |= dict.fromkeys(chosen, f"the file cannot be changed in place: {error}")
            return Plan(self.source.text, left=self.left)
        return Plan(text, fixed=chosen, left=self.left)

    def _chosen(self) -> list[Task]:
        return [task for task in self.tasks if task.kind in OURS_FOR and task not in self.left]

    # One task -----------------------------------------------------------------------------------------

    def _reason(self, task: Task) -> str:
        match task.kind:
            case Kind.OURS:
                return ""
            case Kind.HOOK | Kind.CLIENT | Kind.SDK:
                return "it is Python code: replace it with a SpotTrainingOperator"
            case Kind.OTHER:
                return "there is no operator of this package for it, or it is not clear what it makes"
        if task.subclass is not None or task.call is None:
            return "it is a subclass, or comes from another file: change it there"
        return self._reason_of_arguments(task) or self._reason_of_config(task) or _reason_of_values(task)

    def _reason_of_arguments(self, task: Task) -> str:
        call = task.call
        if call is None or call.args or not call.keywords:
            return "it has arguments without a name, or none"
        known = TASK_ARGUMENTS | (
            OPERATOR_ARGUMENTS if task.kind is Kind.OPERATOR else SENSOR_ARGUMENTS | SENSOR_TASK_ARGUMENTS
        )
        if is_mapped(task) and task.expand is None:
            return "it is mapped elsewhere"
        own = task.arguments.own
        if own.rest is not None:
            return f"it has arguments in a mapping that {own.rest.reason}"
        given = set(own.entries) | {keyword.arg for keyword in (task.expand.keywords if task.expand else [])}
        strange = sorted(str(name) for name in given - known)
        if strange:
            return f"it has an argument that the provider does not take: {', '.join(strange)}"
        if "region" in given:
            return "region is an older name: give region_name"
        starred = [keyword for keyword in call.keywords if keyword.arg is None]
        if starred and "job_name" in given - {keyword.arg for keyword in call.keywords}:
            return "job_name is in a mapping that is unpacked"
        new = sorted(_NEW & task.arguments.default_args.entries.keys())
        return f"default_args have {', '.join(new)}, which would begin to work" if new else ""

    def _reason_of_config(self, task: Task) -> str:
        if task.kind is Kind.SENSOR:
            return ""
        kinds = {purchase_of(config) for config in task.configs}
        if "unknown" in kinds and not self.spot:
            return "the config is not known here: --spot changes the task, which may train on spot then"
        if any(map(is_wait_too_short, task.configs)):
            return "its MaxWaitTimeInSeconds is less than its MaxRuntimeInSeconds: correct that first"
        if {"absent", "spot"} <= kinds and not self.spot:
            return "some of its configs ask for spot, and some say nothing"
        return ""

    # Names --------------------------------------------------------------------------------------------

    def _leave_shared_names(self) -> None:
        """Skip tasks if their class is also used elsewhere, or if its import is not simple."""
        used_otherwise = self._used_otherwise()
        simple: dict[ast.AST, bool] = {}
        for task in self._chosen():
            binding = self._binding(task)
            if binding is None:
                self.left[task] = "its class is not imported in one place"
                continue
            if binding.node not in simple:
                simple[binding.node] = self._is_simple(binding)
            if task.dotted & used_otherwise:
                self.left[task] = "its class is also used in another way in this file"
            elif not simple[binding.node]:
                self.left[task] = "its import is in a condition, or not on a line of its own"
            elif self._is_taken(task.kind):
                self.left[task] = f"{OURS_FOR[task.kind][1]} is another name in this file"

    def _binding(self, task: Task) -> Binding | None:
        root = root_of(callee_of(task))
        if root is None:
            return None
        match self.source.names.lookup(root.id, root):
            case [Binding(bound=Bound.IMPORT) as only]:
                return only
            case [] if self.source.names.stars:
                return next(
                    (star_import(node) for node in self.source.names.tree.body if star_import(node)), None
                )
        return None

    def _used_otherwise(self) -> set[str]:
        """The classes that are used other than in a call, such as in `isinstance`."""
        names = self.source.names
        used: set[str] = set()
        for node in ast.walk(names.tree):
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                parent = names.parents[node]
                is_called = isinstance(parent, ast.Call) and parent.func is node
                is_partial = isinstance(parent, ast.Attribute) and parent.attr == "partial"
                if not (is_called or is_partial):
                    used |= names.resolve(node)
        return used

    def _is_simple(self, binding: Binding) -> bool:
        statement = binding.node
        parent = self.source.names.parents[statement]
        if not isinstance(parent, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.With):
            return False
        lines = self.source.text.splitlines()
        if not isinstance(statement, ast.Import | ast.ImportFrom) or statement.end_lineno is None:
            return False
        before = lines[statement.lineno - 1].encode()[: statement.col_offset]
        after = lines[statement.end_lineno - 1].encode()[statement.end_col_offset :].strip()
        return not before.strip() and (not after or after.startswith(b"#"))

    def _is_taken(self, kind: Kind) -> bool:
        """Whether our class's name stands for something else anywhere in the file."""
        module, name = OURS_FOR[kind]
        return any(
            binding.dotted != f"{module}.{name}"
            or not isinstance(self.source.names.parents[binding.node], ast.Module)
            for binding in self.source.names.bindings_of(name)
        )

    # Jobs that are named elsewhere --------------------------------------------------------------------

    def _leave_other_names(self) -> None:
        """Pair sensors with the operator that creates their job, which gets another name."""
        in_sensors = self._in_sensors()
        operators = [task for task in self._chosen() if task.kind is Kind.OPERATOR]
        for sensor in self.tasks:
            if sensor.kind is Kind.SENSOR:
                creators = [task for task in operators if is_same_job(sensor, task, self.source)]
                variable = assigned_name(creators[0], self.source.names) if len(creators) == 1 else None
                if variable is not None and self._sees(sensor, variable, creators[0]):
                    self.pairs[sensor] = variable
                    continue
                reason = f"line {sensor.line} waits for its job by name: use training_job_name=<task>.output"
                self.left |= dict.fromkeys(creators, reason)
        for operator in operators:
            line = self._line_of_job_name(operator, in_sensors)
            if line and operator not in self.left:
                self.left[operator] = (
                    f"line {line} uses the job's name, and each attempt has its own: take it from XCom"
                )

    def _sees(self, sensor: Task, variable: str, operator: Task) -> bool:
        names = self.source.names
        return (
            not is_mapped(operator)
            and names.scope_of(sensor.node) is names.scope_of(operator.node)
            and sensor.line > operator.line
            and (len(names.lookup(variable, sensor.node)) == 1)
        )

    def _leave_partners(self) -> bool:
        """Leave the operator if its sensor stays, and keep the sensor's name if the operator stays."""
        for sensor, variable in list(self.pairs.items()):
            operator = next(
                task
                for task in self.tasks
                if task.kind is Kind.OPERATOR and assigned_name(task, self.source.names) == variable
            )
            if operator in self.left:
                del self.pairs[sensor]
                return True
            if sensor in self.left:
                self.left[operator] = f"its sensor on line {sensor.line} is not changed, and names its job"
                return True
        return False

    def _line_of_job_name(self, operator: Task, in_sensors: frozenset[int]) -> int:
        """A line outside of its configs and the sensors that uses a job's name."""
        configs = [config for config in operator.configs if isinstance(config, Record)]
        own = {id(node) for config in configs for value in config.nodes.values() for node in ast.walk(value)}
        names = [config.nodes["TrainingJobName"] for config in configs if "TrainingJobName" in config.nodes]
        return next((line for name in names if (line := self._line_of(name, own | in_sensors))), 0)

    def _in_sensors(self) -> frozenset[int]:
        sensors = (task for task in self.tasks if task.kind is Kind.SENSOR)
        return frozenset(id(node) for task in sensors for node in ast.walk(task.node))

    def _line_of(self, name: ast.expr, own: set[int]) -> int:
        names = self.source.names
        if isinstance(name, ast.Name):
            return next((use.lineno for use in names.read.get(name.id, []) if id(use) not in own), 0)
        text = self.source.values.of(name)
        if not isinstance(text, str):
            return 0
        others = (node for node in names.texts if text in str(node.value) and id(node) not in own)
        return next((node.lineno for node in others if self._names_job(node, text)), 0)

    def _names_job(self, node: ast.Constant, name: str) -> bool:
        if not isinstance(node.value, str):
            return False
        parent = self.source.names.parents[node]
        if isinstance(parent, ast.Dict) and _key_of(parent, node) == "TrainingJobName":
            return False
        if f"/{name}/output" in node.value or (is_template(name) and name in node.value):
            return True
        match parent:
            case ast.keyword(arg=arg):
                is_use = arg not in _NAMES_OF_OTHERS
            case ast.Call(func=func):
                is_use = not any(self.source.names.is_airflow(func, other) for other in _MADE_BY_NAME)
            case _:
                is_use = isinstance(parent, ast.Dict | ast.List)
        return is_use and node.value == name


def _key_of(mapping: ast.Dict, value: ast.expr) -> object:
    for key, item in zip(mapping.keys, mapping.values, strict=True):
        if item is value and isinstance(key, ast.Constant):
            return key.value
    return None


def _reason_of_values(task: Task) -> str:
    """Why our classes would refuse the arguments when the Dag is parsed; the check is theirs."""
    if task.arguments.get("action_if_job_exists") == "increment" and (
        task.arguments.own.get("action_if_job_exists") is MISSING
    ):
        return "default_args have action_if_job_exists='increment'"
    known = {
        RENAMED.get(name, name): value
        for name in (OPERATOR_ARGUMENTS | SENSOR_ARGUMENTS) - REMOVED - {"config"}
        if (value := task.arguments.get(name)) is not MISSING and not isinstance(value, Unknown | Record)
    }
    try:
        check_constants(SimpleNamespace(**{"caps": None, "policy": None} | known))
    except InvalidInput as error:
        return str(error)
    return ""
