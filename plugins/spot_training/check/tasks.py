"""The training tasks of a file: the Amazon provider's classes, and trainings in Python code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from .classes import (
    HOOKS,
    NAMES,
    OPERATORS,
    OTHERS,
    OURS,
    SENSORS,
    Kind,
    Source,
    Subclass,
    Subclasses,
    subclass_named,
)
from .dags import Arguments, Surroundings, surroundings_of
from .names import HERE, Bound, Names
from .values import MISSING, Record, Unknown, Value

_CREATE = "create_training_job"
_WAITER_OF_STOPPED = "training_job_completed_or_stopped"


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """One place that makes a training task."""

    kind: Kind
    #: What the call names: a class, or a method.
    name: str
    #: The names that the call resolves to.
    dotted: frozenset[str]
    node: ast.AST
    #: The ID, or `None` if it is put together at run time.
    task_id: str | None
    #: The ID, or else its source.
    label: str
    surroundings: Surroundings
    arguments: Arguments
    #: The configs, several if the task is mapped over a list.
    configs: list[Value] = field(default_factory=list)
    call: ast.Call | None = None
    #: The call of `expand` of a mapped task.
    expand: ast.Call | None = None
    subclass: Subclass | None = None

    @property
    def line(self) -> int:
        return int(getattr(self.node, "lineno", 1))

    @property
    def full_id(self) -> str | None:
        """The ID with those of the task groups."""
        return None if self.task_id is None else self.surroundings.name(self.task_id)

    @property
    def called(self) -> str:
        """What to call the task in a table."""
        return self.surroundings.name(self.label) if self.label else f"({self.name})"


# The tasks of a file -------------------------------------------------------------------------------------


def tasks_of(source: Source, subclasses: Subclasses) -> list[Task]:
    """The training tasks of a file, in the order of their lines."""
    finder = _TaskFinder(source, subclasses)
    return sorted(finder.find(), key=lambda task: task.line)


@dataclass(frozen=True, slots=True)
class _TaskFinder:
    source: Source
    subclasses: Subclasses

    def find(self) -> Iterator[Task]:
        for node in ast.walk(self.source.names.tree):
            match node:
                case ast.Call():
                    yield from self._of_call(node)
                case ast.ClassDef() if (self.source.path, node.name) in self.subclasses:
                    if not self.source.names.read.get(node.name):
                        yield self._definition(node)
                case ast.Name() | ast.Attribute():
                    yield from self._of_value(node)
                case ast.Constant(value=str(text)) if text in OPERATORS | SENSORS:
                    yield self._unclear(node, text.rpartition(".")[2], "is text here: what is made of it is")

    def _of_call(self, call: ast.Call) -> Iterator[Task]:
        match call.func:
            case ast.Attribute(value=ast.Name() | ast.Attribute() as named, attr="partial"):
                if (task := self._of_class(named, call)) is not None:
                    yield self._mapped(task)
                return
            case ast.Attribute(value=base, attr="create_training_job"):
                yield self._created(call, base)
                return
        task = self._of_class(call.func, call) or self._of_sdk(call)
        if task is not None:
            yield task

    def _of_class(self, named: ast.expr, call: ast.Call) -> Task | None:
        dotted = self.source.names.resolve(named)
        subclass = None
        if dotted & OPERATORS:
            kind = Kind.OPERATOR
        elif dotted & SENSORS:
            kind = Kind.SENSOR
        elif dotted & OURS:
            kind = Kind.OURS
        elif dotted & OTHERS.keys():
            kind = Kind.OTHER
        else:
            subclass = subclass_named(dotted, self.source, self.subclasses)
            if subclass is None:
                return self._from_elsewhere(call, named, dotted)
            kind = subclass.kind
        arguments, surroundings = self._arguments(call)
        task_id, label = self._id_of(call)
        return Task(
            kind=kind,
            name=_last(named),
            dotted=dotted,
            node=call,
            task_id=task_id,
            label=label,
            surroundings=surroundings,
            arguments=arguments,
            configs=[arguments.get("config")],
            call=call,
            subclass=subclass,
        )

    def _from_elsewhere(self, call: ast.Call, named: ast.expr, dotted: frozenset[str]) -> Task | None:
        """A class with the provider's name, of a file that is not looked at."""
        for name in dotted:
            module, _, last = name.rpartition(".")
            if last in NAMES and module != HERE:
                task = self._unclear(call, _last(named), f"is imported from {module}, which is")
                task.task_id, task.label = self._id_of(call)
                return task
        return None

    def _arguments(self, call: ast.Call) -> tuple[Arguments, Surroundings]:
        surroundings = surroundings_of(call, self.source.names, self.source.values)
        return Arguments(self.source.values.keywords(call), surroundings.default_args), surroundings

    def _id_of(self, call: ast.Call) -> tuple[str | None, str]:
        """The task's ID, and what to call it: its source, if it is put together at run time."""
        given = self.source.values.keywords(call)
        value = given.get("task_id")
        if isinstance(value, str):
            return value, value
        return None, ast.unparse(given.nodes["task_id"]) if "task_id" in given.nodes else ""

    def _mapped(self, task: Task) -> Task:
        """A task of `Operator.partial(...).expand(...)`."""
        attribute = self.source.names.parents[task.node]
        expand = self.source.names.parents.get(attribute)
        if not (isinstance(attribute, ast.Attribute) and isinstance(expand, ast.Call)):
            task.configs = [Unknown("is mapped elsewhere")]
            return task
        task.expand = expand
        if attribute.attr == "expand_kwargs":
            task.arguments.own.rest = Unknown("expand_kwargs gives at run time")
            task.configs = (
                [Unknown("is mapped with expand_kwargs")] if task.configs == [MISSING] else task.configs
            )
            return task
        given = self.source.values.keywords(expand)
        for name, value in given.entries.items():
            if name == "config":
                task.configs = value if isinstance(value, list) else [value]
            else:
                task.arguments.own.entries[name] = Unknown("is mapped")
        return task

    # Trainings in Python code -------------------------------------------------------------------------

    def _created(self, call: ast.Call, base: ast.expr) -> Task:
        """A call of `create_training_job`: the hook's, or boto3's."""
        task_id, label, surroundings = self._task_around(call)
        # boto3 takes no argument without a name, and none that is called config.
        is_hook = (
            self._is_hook(base) or bool(call.args) or any(word.arg == "config" for word in call.keywords)
        )
        own = self.source.values.keywords(call)
        if is_hook:
            names = ("config", "wait_for_completion", "print_log", "check_interval", "max_ingestion_time")
            for name, node in zip(names, call.args, strict=False):
                own.entries[name] = self.source.values.of(node)
            config = own.get("config")
        else:
            config = own
        return Task(
            kind=Kind.HOOK if is_hook else Kind.CLIENT,
            name=f"SageMakerHook.{_CREATE}" if is_hook else f"boto3 {_CREATE}",
            dotted=frozenset(),
            node=call,
            task_id=task_id,
            label=label,
            surroundings=surroundings,
            arguments=Arguments(own, Record()),
            configs=[config],
            call=call,
        )

    def _is_hook(self, base: ast.expr) -> bool:
        names = self.source.names
        if isinstance(base, ast.Name):
            made = [binding.value for binding in names.lookup(base.id, base)]
            return any(
                isinstance(value, ast.Call) and bool(names.resolve(value.func) & HOOKS) for value in made
            )
        return isinstance(base, ast.Call) and bool(names.resolve(base.func) & HOOKS)

    def _of_sdk(self, call: ast.Call) -> Task | None:
        """An Estimator or a Compute of the SageMaker SDK that may use managed spot."""
        flags = {"use_spot_instances", "enable_managed_spot_training"}
        given = self.source.values.keywords(call)
        value = next((given.entries[flag] for flag in sorted(flags & given.entries.keys())), None)
        dotted = self.source.names.resolve(call.func)
        if value in (None, False) or not any(name.startswith("sagemaker.") for name in dotted):
            return None
        task_id, label, surroundings = self._task_around(call)
        return Task(
            kind=Kind.SDK,
            name=f"SDK {_last(call.func)}",
            dotted=dotted,
            node=call,
            task_id=task_id,
            label=label,
            surroundings=surroundings,
            arguments=Arguments(given, Record()),
            call=call,
        )

    def _task_around(self, node: ast.AST) -> tuple[str | None, str, Surroundings]:
        """The task that runs a piece of Python code: of `@task`, or of a `python_callable`."""
        names, values = self.source.names, self.source.values
        function = names.function_of(node)
        while function is not None:
            for decorator in function.decorator_list:
                named = decorator.func if isinstance(decorator, ast.Call) else decorator
                if _is_task_decorator(names.resolve(named)):
                    given = self._id_of(decorator) if isinstance(decorator, ast.Call) else (None, "")
                    task_id, label = given if given[1] else (function.name, function.name)
                    return task_id, label, surroundings_of(function, names, values)
            for use in names.read.get(function.name, []):
                keyword = names.parents[use]
                if isinstance(keyword, ast.keyword) and keyword.arg == "python_callable":
                    call = names.parents[keyword]
                    if isinstance(call, ast.Call):
                        return *self._id_of(call), surroundings_of(call, names, values)
            function = names.function_of(function)
        return None, "", surroundings_of(node, names, values)

    # What is not a call -------------------------------------------------------------------------------

    def _definition(self, node: ast.ClassDef) -> Task:
        subclass = self.subclasses[(self.source.path, node.name)]
        return Task(
            kind=subclass.kind,
            name=f"class {node.name}",
            dotted=frozenset(),
            node=node,
            task_id=None,
            label="",
            surroundings=Surroundings(),
            arguments=Arguments(Record(rest=Unknown("are those of its tasks")), Record()),
            configs=[Unknown("is that of its tasks")],
            subclass=subclass,
        )

    def _of_value(self, node: ast.Name | ast.Attribute) -> Iterator[Task]:
        """The provider's class where it is neither called nor extended nor given another name."""
        if not isinstance(node.ctx, ast.Load) or not self.source.names.resolve(node) & (OPERATORS | SENSORS):
            return
        parent = self.source.names.parents[node]
        match parent:
            case ast.Call(func=func) if func is node:
                return
            case ast.Attribute(attr="partial") | ast.ClassDef() | ast.Assign(targets=[ast.Name()]):
                return
        if _is_annotation(node, parent) or self._is_type_check(parent):
            return
        yield self._unclear(node, _last(node), "is used as a value: what is made of it is")

    def _is_type_check(self, parent: ast.AST) -> bool:
        if isinstance(parent, ast.Tuple):
            parent = self.source.names.parents[parent]
        return isinstance(parent, ast.Call) and _last(parent.func) in {"isinstance", "issubclass", "cast"}

    def _unclear(self, node: ast.AST, name: str, reason: str) -> Task:
        surroundings = surroundings_of(node, self.source.names, self.source.values)
        return Task(
            kind=Kind.OTHER,
            name=name,
            dotted=frozenset(),
            node=node,
            task_id=None,
            label="",
            surroundings=surroundings,
            arguments=Arguments(Record(rest=Unknown(reason)), Record()),
        )


def takes_stopped_for_success(source: Source) -> list[ast.Call]:
    """Where a file waits with boto3's waiter that takes a stopped job for a success."""
    return [
        call
        for call in source.names.calls
        if _last(call.func) == "get_waiter"
        and any(isinstance(item, ast.Constant) and item.value == _WAITER_OF_STOPPED for item in call.args)
    ]


def is_mapped(task: Task) -> bool:
    return (
        isinstance(task.call, ast.Call)
        and isinstance(task.call.func, ast.Attribute)
        and (task.call.func.attr == "partial")
    )


def assigned_name(task: Task, names: Names) -> str | None:
    """The variable of a task, if its call is assigned to one that has no other value."""
    made = task.expand or task.node
    statement = names.parents.get(made)
    match statement:
        case ast.Assign(targets=[ast.Name(id=name) as target]):
            bindings = names.lookup(name, target)
            return name if len(bindings) == 1 and bindings[0].bound is Bound.VALUE else None
    return None


def _is_task_decorator(dotted: frozenset[str]) -> bool:
    """`@task`, `@task.virtualenv` and the like."""
    return any(name.startswith("airflow.") and "task" in name.split(".")[1:] for name in dotted)


def _is_annotation(node: ast.AST, parent: ast.AST) -> bool:
    match parent:
        case ast.arg() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return True
        case ast.AnnAssign(annotation=annotation):
            return annotation is node
    return False


def _last(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ast.unparse(node)[:40]
