"""The Dag and the task groups around a task, and the arguments that the task gets from them."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from .names import Binding, Function, Names
from .values import MISSING, Record, Unknown, Value, Values

_OUTSIDE = Unknown("come from a Dag that is not found here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The Dag of a task, as far as the file shows it."""

    dag_id: str | None = None
    #: The IDs of the task groups, from the outside in; `None` if the ID is computed.
    groups: tuple[str | None, ...] = ()
    #: What a task gets if the call does not give it.
    default_args: Record = field(default_factory=Record)
    #: Whether templates render to numbers and booleans, not to text; `None`: not known.
    renders_native: bool | None = None

    def name(self, task_id: str) -> str:
        """The ID of a task with the groups around it."""
        return ".".join(["?" if group is None else group for group in self.groups if group != ""] + [task_id])


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments that a task gets: its own, and those of `default_args`."""

    own: Record
    default_args: Record

    def get(self, name: str) -> Value:
        """The value, `MISSING`, or `Unknown`."""
        value = self.own.get(name)
        return self.default_args.entries.get(name, MISSING) if value is MISSING else value

    def flag(self, name: str, *, default: bool) -> bool | None:
        """Whether an argument is true; `None` if that is not known."""
        value = self.get(name)
        if value is MISSING:
            return default
        return None if isinstance(value, Unknown | Record) else bool(value)

    def is_given(self, name: str) -> bool:
        """Whether the file gives this argument, also if the value is not known."""
        value = self.get(name)
        return value not in (MISSING, None) and value is not self.own.rest


def surroundings_of(node: ast.AST, names: Names, values: Values) -> Surroundings:
    """Find the Dag of a call: around it, or in its argument `dag`."""
    finder = _Finder(names, values)
    if isinstance(node, ast.Call):
        given = next((keyword.value for keyword in node.keywords if keyword.arg == "dag"), None)
        if given is not None:
            finder.add_dag(finder.made(given))
    for parent, child in names.enclosing(node):
        match parent:
            case ast.With(items=items) | ast.AsyncWith(items=items) if child in parent.body:
                for item in reversed(items):
                    finder.add(finder.made(item.context_expr))
            case ast.FunctionDef() | ast.AsyncFunctionDef() if child in parent.body:
                finder.add_function(parent)
    return finder.result()


@dataclass(slots=True)
class _Finder:
    names: Names
    values: Values
    has_dag: bool = False
    dag_id: str | None = None
    native: bool | None = None
    groups: list[str | None] = field(default_factory=list)
    #: From the inside out.
    defaults: list[Value] = field(default_factory=list)

    def made(self, node: ast.expr) -> ast.expr:
        """The call that made what a name stands for."""
        match node:
            case ast.Name(id=name):
                match self.names.lookup(name, node):
                    case [Binding(value=ast.expr() as value)]:
                        return value
        return node

    def add(self, made: ast.expr) -> None:
        if isinstance(made, ast.Call) and self.names.is_airflow(made.func, "TaskGroup"):
            self._add_group(made, name=None)
        else:
            self.add_dag(made)

    def add_dag(self, made: ast.expr) -> None:
        if isinstance(made, ast.Call) and self.names.is_airflow(made.func, "DAG"):
            self._read_dag(made, name=None)

    def add_function(self, function: Function) -> None:
        for decorator in function.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            named = decorator.func if isinstance(decorator, ast.Call) else decorator
            if self.names.is_airflow(named, "dag"):
                self._read_dag(call, name=function.name)
            elif self.names.is_airflow(named, "task_group"):
                self._add_group(call, name=function.name)

    def _read_dag(self, call: ast.Call | None, *, name: str | None) -> None:
        if self.has_dag:
            return
        self.has_dag = True
        given = Record() if call is None else self.values.keywords(call)
        dag_id = given.get("dag_id")
        if dag_id is MISSING:
            dag_id = self.values.of(call.args[0]) if call is not None and call.args else name
        self.dag_id = dag_id if isinstance(dag_id, str) else None
        native = given.get("render_template_as_native_obj")
        self.native = False if native is MISSING else native if isinstance(native, bool) else None
        self._add_defaults(given)

    def _add_group(self, call: ast.Call | None, *, name: str | None) -> None:
        given = Record() if call is None else self.values.keywords(call)
        group_id = given.get("group_id")
        if group_id is MISSING:
            group_id = self.values.of(call.args[0]) if call is not None and call.args else name
        if given.get("prefix_group_id") is False:
            group_id = ""
        self.groups.append(group_id if isinstance(group_id, str) else None)
        self._add_defaults(given)

    def _add_defaults(self, given: Record) -> None:
        defaults = given.get("default_args")
        if defaults is not MISSING and defaults is not None:
            self.defaults.append(defaults)

    def result(self) -> Surroundings:
        merged = Record(rest=None if self.has_dag else _OUTSIDE)
        for defaults in reversed(self.defaults):
            merged.update(defaults.copy() if isinstance(defaults, Record) else defaults)
        return Surroundings(
            dag_id=self.dag_id,
            groups=tuple(reversed(self.groups)),
            default_args=merged,
            renders_native=self.native,
        )
