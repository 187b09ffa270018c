"""What an expression is worth without running it. What only a run can tell is `Unknown`, with the reason."""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .names import HERE, Binding, Bound, Function, Names

#: An `int`, `float`, `str`, `bool`, `None`, a list of values, a `Record`, `MISSING` or `Unknown`.
Value = Any

_DEPTH = 12
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
}
#: Functions that change none of their arguments.
_READERS = frozenset({"print", "len", "str", "dict", "deepcopy", "copy", "dumps", "repr", "sorted", "list"})


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that is computed at run time."""

    reason: str


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()


@dataclass(slots=True, kw_only=True)
class Record:
    """A mapping with text as keys."""

    entries: dict[str, Value] = field(default_factory=dict)
    nodes: dict[str, ast.expr] = field(default_factory=dict)
    #: Why there may be other entries.
    rest: Unknown | None = None

    def get(self, *path: str) -> Value:
        """The value at a path of keys, `MISSING`, or `Unknown`."""
        value: Value = self
        for key in path:
            if isinstance(value, Unknown):
                return value
            if not isinstance(value, Record):
                return MISSING
            value = value.entries.get(key, value.rest or MISSING)
        return value

    def update(self, other: Value) -> None:
        """As `dict.update`."""
        if not isinstance(other, Record):
            self.rest = other if isinstance(other, Unknown) else Unknown("is computed at run time")
            return
        if other.rest is not None:  # it may replace what is here
            self.entries, self.nodes, self.rest = {}, {}, other.rest
        self.entries |= other.entries
        self.nodes |= other.nodes

    def copy(self) -> Record:
        entries = {key: _copied(value) for key, value in self.entries.items()}
        return Record(entries=entries, nodes=dict(self.nodes), rest=self.rest)


def _copied(value: Value) -> Value:
    return value.copy() if isinstance(value, Record) else value


def is_template(value: Value) -> bool:
    """Whether Airflow renders the value."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


@dataclass(frozen=True, slots=True)
class Values:
    """The values of the expressions of one file."""

    names: Names
    #: What names are worth: a config is often that of many tasks.
    _known: dict[int, Value] = field(default_factory=dict)

    def of(self, node: ast.expr, depth: int = 0) -> Value:
        if depth > _DEPTH:
            return Unknown("is computed at run time")
        deeper = depth + 1
        match node:
            case ast.Constant(value=value):
                return value if isinstance(value, str | int | float | None) else Unknown("is bytes")
            case ast.Dict():
                return self._record(node, deeper)
            case ast.List() | ast.Tuple():
                return [self.of(item, deeper) for item in node.elts]
            case ast.Name():
                return self._name(node, deeper)
            case ast.BinOp():
                return self._binary(node, deeper)
            case ast.UnaryOp():
                return _unary(node, self.of(node.operand, deeper))
            case ast.Subscript(value=base, slice=ast.Constant(value=str(key))):
                return _item(node, self.of(base, deeper), key)
            case ast.Call():
                return self._call(node, deeper)
        return _run_time(node)

    # Mappings -----------------------------------------------------------------------------------------

    def _record(self, node: ast.Dict, depth: int) -> Record:
        record = Record()
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                record.update(_copied(self.of(value, depth)))
                continue
            name = self.of(key, depth)
            if isinstance(name, str) and not is_template(name):
                record.entries[name] = self.of(value, depth)
                record.nodes[name] = value
            else:
                record.rest = Unknown("has keys that are computed at run time")
        return record

    def _binary(self, node: ast.BinOp, depth: int) -> Value:
        left, right = self.of(node.left, depth), self.of(node.right, depth)
        if isinstance(node.op, ast.BitOr) and isinstance(left, Record):
            merged = left.copy()
            merged.update(_copied(right))
            return merged
        act = _ARITHMETIC.get(type(node.op))
        if act is None or not (_is_number(left) and _is_number(right)):
            return _run_time(node)
        try:
            return act(left, right)
        except (ArithmeticError, ValueError):
            return _run_time(node)

    # Calls --------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call, depth: int) -> Value:
        match node.func:
            case ast.Name(id="dict") if not node.args:
                return self.keywords(node, depth)
            case ast.Name(id="dict") if len(node.args) == 1:
                record = self.of(node.args[0], depth)
                if isinstance(record, Record):
                    record = record.copy()
                    record.update(self.keywords(node, depth))
                return record
            case ast.Attribute(value=base, attr="copy") if not node.args:
                return _copied(self.of(base, depth))
        known = {name.rpartition(".")[2]: name for name in self.names.resolve(node.func)}
        if {"copy.deepcopy", "copy.copy"} & set(known.values()) and len(node.args) == 1:
            return _copied(self.of(node.args[0], depth))
        if "json.loads" in known.values() and len(node.args) == 1:
            return _from_json(self.of(node.args[0], depth))
        if "json.load" in known.values():
            return Unknown("is loaded from a file at run time")
        if any(
            name.endswith(".training_config") and name.startswith("sagemaker.") for name in known.values()
        ):
            return Unknown("is exported by the SageMaker SDK at run time")
        return self._result(node, depth)

    def keywords(self, node: ast.Call, depth: int = 0) -> Record:
        """The keyword arguments of a call."""
        record = Record()
        for keyword in node.keywords:
            if keyword.arg is None:
                record.update(_copied(self.of(keyword.value, depth + 1)))
            else:
                record.entries[keyword.arg] = self.of(keyword.value, depth + 1)
                record.nodes[keyword.arg] = keyword.value
        return record

    def _result(self, node: ast.Call, depth: int) -> Value:
        """What a function of this file returns, if it has one `return` and nothing decides about it."""
        if not isinstance(node.func, ast.Name):
            return _run_time(node)
        match self.names.lookup(node.func.id, node.func):
            case [Binding(node=ast.FunctionDef() as function)]:
                if function.decorator_list:
                    return Unknown(f"is the result of {function.name}, at run time")
                returns = [found for found in _own_nodes(function) if isinstance(found, ast.Return)]
                if len(returns) == 1 and returns[0].value is not None and returns[0] in function.body:
                    return self.of(returns[0].value, depth)
        return _run_time(node)

    # Names --------------------------------------------------------------------------------------------

    def _name(self, node: ast.Name, depth: int) -> Value:
        match self.names.lookup(node.id, node):
            case [Binding(bound=Bound.VALUE, value=ast.expr() as value) as binding]:
                if id(binding) not in self._known:
                    self._known[id(binding)] = self._changed(self.of(value, depth), binding, node.id)
                return self._known[id(binding)]
            case [Binding(bound=Bound.IMPORT, dotted=dotted)]:
                return Unknown(f"is imported from {dotted.rpartition('.')[0] or dotted}")
            case [Binding(bound=Bound.ARGUMENT)]:
                function = self.names.function_of(node)
                return Unknown(f"is an argument of {function.name}" if function else "is an argument")
            case [_, _, *_]:
                return Unknown("is assigned more than once")
        return _run_time(node)

    def _changed(self, value: Value, binding: Binding, name: str) -> Value:
        """A value with what the file does to it after its assignment."""
        if isinstance(value, list):
            uses = self.names.uses_of(binding, name)
            return Unknown("is changed later") if any(map(self._is_changing, uses)) else value
        if not isinstance(value, Record):
            return value
        record = value.copy()
        uses = self.names.uses_of(binding, name)
        stored = [(keys, use) for use in uses if (keys := self._stored_keys(use)) is not None]
        for keys, use in stored:
            is_once = sum(keys == others for others, _ in stored) == 1
            self._store(record, keys, self._set_to(use, binding) if is_once else None, use)
        for use in uses:
            if self._stored_keys(use) is None and self._is_changing(use):
                return Record(rest=Unknown(f"is changed on line {use.lineno}"))
        return record

    def _stored_keys(self, use: ast.Name) -> list[Value] | None:
        """The keys of `name["a"]["b"] = ...`."""
        node: ast.AST = use
        keys = []
        while isinstance(parent := self.names.parents[node], ast.Subscript) and parent.value is node:
            keys.append(self.of(parent.slice))
            node = parent
            if isinstance(parent.ctx, ast.Store | ast.Del):
                return keys
        return None

    def _set_to(self, use: ast.Name, binding: Binding) -> ast.expr | None:
        """What `name["a"] = ...` sets, if it is always done: in the block of the first assignment."""
        statement, made = self.names.statement_of(use), self.names.statement_of(binding.node)
        is_always = self.names.parents[statement] is self.names.parents[made]
        return statement.value if is_always and isinstance(statement, ast.Assign) else None

    def _store(self, record: Record, keys: list[Value], new: ast.expr | None, use: ast.Name) -> None:
        *path, last = keys
        for key in path:
            inner = record.entries.get(key) if isinstance(key, str) else None
            if not isinstance(inner, Record):
                record.rest = Unknown(f"is changed on line {use.lineno}")
                return
            record = inner
        if not isinstance(last, str):
            record.entries, record.nodes = {}, {}
            record.rest = Unknown(f"is changed on line {use.lineno}")
        elif new is None:
            record.entries[last] = Unknown(f"is set on line {use.lineno}")
        else:
            record.entries[last] = self.of(new)
            record.nodes[last] = new

    def _is_changing(self, use: ast.Name) -> bool:
        """Whether this use may change the value, or gives it to something that may."""
        parent = self.names.parents[use]
        match parent:
            case ast.keyword(arg=None) | ast.Dict() | ast.BinOp() | ast.Compare() | ast.FormattedValue():
                return False
            case ast.Return() | ast.List() | ast.Tuple() | ast.comprehension() | ast.For():
                return False
            case ast.Subscript(ctx=ast.Load()):
                return self._is_method(parent)
            case ast.Attribute():
                return parent.attr not in {"copy", "get", "items", "keys", "values"}
            case ast.keyword():
                return not self._is_argument_of_airflow(self.names.parents[parent])
            case ast.Call():
                return not (_last_name(parent.func) in _READERS or self._is_argument_of_airflow(parent))
        return True

    def _is_method(self, node: ast.AST) -> bool:
        """Whether `name[...]` has a method called on it, or is given away."""
        parent = self.names.parents[node]
        while isinstance(parent, ast.Subscript) and parent.value is node:
            node, parent = parent, self.names.parents[parent]
        return isinstance(parent, ast.Attribute) and parent.attr in {
            "update",
            "pop",
            "setdefault",
            "clear",
            "append",
        }

    def _is_argument_of_airflow(self, call: ast.AST) -> bool:
        if not isinstance(call, ast.Call):
            return False
        if _last_name(call.func) in {"partial", "expand", "create_training_job"}:
            return True
        dotted = self.names.resolve(call.func)
        return any(name.startswith(("airflow.", "spot_training.")) for name in dotted) or any(
            name.startswith(HERE) and self._is_class(call.func) for name in dotted
        )

    def _is_class(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and any(
            binding.bound is Bound.CLASS for binding in self.names.lookup(node.id, node)
        )


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions in it."""
    due: list[ast.AST] = list(function.body)
    while due:
        node = due.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            due.extend(ast.iter_child_nodes(node))


def _unary(node: ast.UnaryOp, value: Value) -> Value:
    match node.op:
        case ast.USub() if _is_number(value):
            return -value
        case ast.Not() if isinstance(value, bool):
            return not value
    return _run_time(node)


def _item(node: ast.expr, value: Value, key: str) -> Value:
    found = value.get(key) if isinstance(value, Record) else value
    return found if isinstance(value, Record | Unknown) and found is not MISSING else _run_time(node)


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _from_json(text: Value) -> Value:
    if not isinstance(text, str):
        return text if isinstance(text, Unknown) else Unknown("is computed at run time")
    try:
        return _as_value(json.loads(text))
    except (ValueError, RecursionError):
        return Unknown("is JSON text that cannot be read here")


def _as_value(value: Any) -> Value:
    match value:
        case dict():
            return Record(entries={key: _as_value(item) for key, item in value.items()})
        case list():
            return [_as_value(item) for item in value]
    return value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _run_time(node: ast.expr) -> Unknown:
    match node:
        case ast.JoinedStr():
            return Unknown("is put together at run time")
        case ast.Attribute(attr="output"):
            return Unknown("is the result of a task")
        case ast.Call(func=func):
            return Unknown(f"is the result of {ast.unparse(func)[:40]}(), at run time")
        case ast.Attribute() | ast.Name():
            return Unknown(f"is {ast.unparse(node)[:40]}, at run time")
    return Unknown("is computed at run time")
