"""What the names of a file stand for: its scopes, imports and assignments."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

#: The package of what a file defines itself, in a dotted name.
HERE = "<here>"

Function = ast.FunctionDef | ast.AsyncFunctionDef
_Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
_SCOPES = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_DEPTH = 12


class Bound(StrEnum):
    """How a name gets its value."""

    IMPORT = "import"
    VALUE = "value"
    CLASS = "class"
    FUNCTION = "function"
    ARGUMENT = "argument"
    #: In a loop, by unpacking, by `global`: the value is not in one place.
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One place that gives a name a value."""

    bound: Bound
    node: ast.AST
    #: Of an import: what it names.
    dotted: str = ""
    #: Of an assignment, or of `with ... as`.
    value: ast.expr | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """The scopes of one file."""

    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)
    _bindings: dict[ast.AST, dict[str, list[Binding]]] = field(default_factory=dict)
    #: Each place that reads a name.
    read: dict[str, list[ast.Name]] = field(default_factory=dict)
    #: Every class, every call, and every constant that is text.
    classes: list[ast.ClassDef] = field(default_factory=list)
    calls: list[ast.Call] = field(default_factory=list)
    texts: list[ast.Constant] = field(default_factory=list)
    #: The modules of `from module import *`.
    stars: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, tree: ast.Module) -> Names:
        names = cls(tree)
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                if not isinstance(child, ast.expr_context):
                    names.parents[child] = node
        for node in ast.walk(tree):
            names._collect(node)
            names._index(node)
        return names

    # Where a name gets its value ----------------------------------------------------------------------

    def _collect(self, node: ast.AST) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._collect_import(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                is_class = isinstance(node, ast.ClassDef)
                self._add(node.name, node, Bound.CLASS if is_class else Bound.FUNCTION)
            case ast.arg():
                self._add(node.arg, node, Bound.ARGUMENT)
            case ast.Name():
                self._collect_name(node)
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                self._add(name, node, Bound.OTHER)
            case ast.Global() | ast.Nonlocal():
                outside = self._bindings.setdefault(self.tree, {})
                for name in node.names:
                    outside.setdefault(name, []).append(Binding(bound=Bound.OTHER, node=node))

    def _index(self, node: ast.AST) -> None:
        match node:
            case ast.ClassDef():
                self.classes.append(node)
            case ast.Call():
                self.calls.append(node)
            case ast.Constant(value=str()):
                self.texts.append(node)

    def _collect_import(self, node: ast.Import | ast.ImportFrom) -> None:
        base = "." * node.level + (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            if isinstance(node, ast.Import):
                name = alias.asname or alias.name.partition(".")[0]
                self._add(name, node, Bound.IMPORT, dotted=alias.name if alias.asname else name)
            elif alias.name == "*":
                self.stars.append(base)
            else:
                dotted = f"{base}.{alias.name}" if node.module else f"{base}{alias.name}"
                self._add(alias.asname or alias.name, node, Bound.IMPORT, dotted=dotted)

    def _collect_name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.read.setdefault(node.id, []).append(node)
            return
        value = self._assigned(node)
        self._add(node.id, node, Bound.OTHER if value is None else Bound.VALUE, value=value)

    def _add(
        self, name: str, node: ast.AST, bound: Bound, *, dotted: str = "", value: ast.expr | None = None
    ) -> None:
        scope = self.scope_of(node)
        binding = Binding(bound=bound, node=node, dotted=dotted, value=value)
        self._bindings.setdefault(scope, {}).setdefault(name, []).append(binding)

    def _assigned(self, target: ast.Name) -> ast.expr | None:
        match self.parents[target]:
            case ast.Assign(targets=[only], value=value) if only is target:
                return value
            case ast.AnnAssign(value=value):
                return value
            case ast.withitem(context_expr=value, optional_vars=only) if only is target:
                return value
        return None

    def scope_of(self, node: ast.AST) -> _Scope:
        """The scope in which a node is evaluated. That of a decorator is outside of its function."""
        child = node
        while (parent := self.parents.get(child)) is not None:
            if isinstance(parent, _SCOPES) and not _is_outside(child, parent):
                return parent
            child = parent
        return self.tree

    def lookup(self, name: str, node: ast.AST) -> list[Binding]:
        """The places that give a name its value, as seen from a node; none for a builtin or a star import."""
        scope: _Scope = self.scope_of(node)
        is_first = True
        while True:
            if is_first or not isinstance(scope, ast.ClassDef):
                found = self._bindings.get(scope, {}).get(name)
                if found:
                    return found
            if scope is self.tree:
                return []
            scope, is_first = self.scope_of(scope), False

    # What an expression names -------------------------------------------------------------------------

    def resolve(self, node: ast.expr, depth: int = 0) -> frozenset[str]:
        """The dotted names that an expression may stand for; empty if it is not a name of a module."""
        if depth > _DEPTH:
            return frozenset()
        match node:
            case ast.Name(id=name):
                bindings = self.lookup(name, node)
                if not bindings:
                    return frozenset(f"{module}.{name}" for module in self.stars)
                return frozenset().union(*(self._named(name, binding, depth) for binding in bindings))
            case ast.Attribute(value=value, attr=attr):
                return frozenset(f"{dotted}.{attr}" for dotted in self.resolve(value, depth + 1))
        return frozenset()

    def resolve_top(self, name: str) -> frozenset[str]:
        """As `resolve`, for a name of the file that is imported or another name of what is imported."""
        bindings = self._bindings.get(self.tree, {}).get(name, [])
        return frozenset().union(*(self._named(name, binding, 0) for binding in bindings))

    def _named(self, name: str, binding: Binding, depth: int) -> frozenset[str]:
        match binding.bound:
            case Bound.IMPORT:
                return frozenset({binding.dotted})
            case Bound.CLASS | Bound.FUNCTION:
                return frozenset({f"{HERE}.{name}"})
            case Bound.VALUE if isinstance(binding.value, ast.Name | ast.Attribute):
                return self.resolve(binding.value, depth + 1)
        return frozenset()

    def is_airflow(self, node: ast.expr, name: str) -> bool:
        """Whether an expression names this class or decorator of Airflow, by whatever path."""
        return any(
            dotted.startswith("airflow.") and dotted.rpartition(".")[2] == name
            for dotted in self.resolve(node)
        )

    # Positions ----------------------------------------------------------------------------------------

    def enclosing(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Each node around this one, from the inside out, with its child on the way."""
        child = node
        while (parent := self.parents.get(child)) is not None:
            yield parent, child
            child = parent

    def function_of(self, node: ast.AST) -> Function | None:
        """The function in which a node is evaluated."""
        scope = self.scope_of(node)
        while not isinstance(scope, ast.Module):
            if isinstance(scope, Function):
                return scope
            scope = self.scope_of(scope)
        return None

    def statement_of(self, node: ast.AST) -> ast.stmt:
        """The statement that a node is part of."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def top_names(self) -> list[str]:
        """The names that other files can import."""
        return list(self._bindings.get(self.tree, {}))

    def bindings_of(self, name: str) -> list[Binding]:
        """Every place in the file that gives a name a value, in any scope."""
        return [binding for bindings in self._bindings.values() for binding in bindings.get(name, [])]

    def uses_of(self, binding: Binding, name: str) -> list[ast.Name]:
        """Where the value of a binding is read."""
        return [node for node in self.read.get(name, []) if binding in self.lookup(name, node)]


def _is_outside(child: ast.AST, scope: ast.AST) -> bool:
    match scope:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return child in scope.decorator_list or child is scope.returns
        case ast.ClassDef():
            return child not in scope.body
    return False
