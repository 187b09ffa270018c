"""The text of a changed file: the names of the classes, their arguments, and the imports."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from .classes import OPERATORS, SENSORS, Kind, Source
from .edits import Edit, Text, apply
from .exposure import spot_of
from .names import Binding, Bound
from .tasks import Task, is_mapped
from .values import MISSING, Record, Unknown, Value

#: What takes the place of the provider's classes: module and name.
OURS_FOR = {
    Kind.OPERATOR: ("spot_training.operators", "SpotTrainingOperator"),
    Kind.SENSOR: ("spot_training.sensors", "SpotTrainingSensor"),
}
#: Arguments that mean nothing to ours.
REMOVED = frozenset({"max_attempts", "check_if_job_exists", "action_if_job_exists"})
RENAMED = {"max_ingestion_time": "training_timeout", "job_name": "training_job_name"}


@dataclass(slots=True)
class Writer:
    source: Source
    text: Text
    spot: bool
    pairs: dict[Task, str]
    edits: list[Edit] = field(default_factory=list)

    def write(self, tasks: list[Task]) -> str:
        for task in tasks:
            self._call(task)
        self._imports(tasks)
        return apply(self.text.text, self.edits)

    def _call(self, task: Task) -> None:
        start, end = self.text.span(callee_of(task))
        self.edits.append(Edit(start, end, OURS_FOR[task.kind][1]))
        call = task.call
        if call is None:
            return
        if task.kind is Kind.OPERATOR and self._stays_on_demand(task):
            self._add_policy(task)
        kept: int | None = None
        for keyword in call.keywords:
            start, _ = self.text.span(keyword)
            if not (self._is_useless(keyword) and self._remove(start, kept)):
                kept = start
                self._rename(keyword, task)
        for keyword in task.expand.keywords if task.expand is not None else []:
            self._rename(keyword, task)

    def _is_useless(self, keyword: ast.keyword) -> bool:
        if keyword.arg == "max_ingestion_time":
            return isinstance(keyword.value, ast.Constant) and keyword.value.value is None
        return keyword.arg in REMOVED

    def _remove(self, start: int, kept: int | None) -> bool:
        edit = self.text.without_item(start, kept)
        if edit is None:
            return False
        self.edits.append(edit)
        return True

    def _rename(self, keyword: ast.keyword, task: Task) -> None:
        if keyword.arg not in RENAMED:
            return
        start, end = self.text.span(keyword)
        if keyword.arg == "job_name" and task in self.pairs:
            end, _ = self.text.item_end(start)
            self.edits.append(Edit(start, end, f"training_job_name={self.pairs[task]}.output"))
        else:
            self.edits.append(Edit(start, start + len(keyword.arg), RENAMED[keyword.arg]))

    def _stays_on_demand(self, task: Task) -> bool:
        """Whether the config says nothing about spot: the provider then trains on demand, ours on spot."""
        return not self.spot and "absent" in {purchase_of(config) for config in task.configs}

    def _add_policy(self, task: Task) -> None:
        """Before the config, or as the first argument."""
        call = task.call
        if call is None:
            return
        keyword = next((keyword for keyword in call.keywords if keyword.arg == "config"), call.keywords[0])
        start, _ = self.text.span(keyword)
        indent = self.text.indent(start)
        space = " " if indent is None else f"{self.text.newline}{indent}"
        self.edits.append(Edit(start, start, f'policy="on_demand",{space}'))

    # Imports ------------------------------------------------------------------------------------------

    def _imports(self, tasks: list[Task]) -> None:
        names = self.source.names
        statements: dict[ast.Import | ast.ImportFrom, list[Task]] = {}
        for task in tasks:
            root = root_of(callee_of(task))
            bindings = names.lookup(root.id, root) if root is not None else []
            statement = (
                bindings[0].node if bindings else next(node for node in names.tree.body if star_import(node))
            )
            if isinstance(statement, ast.Import | ast.ImportFrom):
                statements.setdefault(statement, []).append(task)
        for statement, users in statements.items():
            self._import(statement, users)

    def _import(self, statement: ast.Import | ast.ImportFrom, users: list[Task]) -> None:
        new = self._new_imports(users)
        gone = [alias for alias in statement.names if self._is_unused(alias, statement, users)]
        start, end = self.text.span(statement)
        indent = self.text.indent(start) or ""
        if len(gone) == len(statement.names):
            if new:
                self.edits.append(Edit(start, end, f"{self.text.newline}{indent}".join(new)))
            else:
                after = re.match(r"[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n)?", self.text.text[end:])
                self.edits.append(Edit(self.text.line_start(start), end + (after.end() if after else 0), ""))
            return
        kept: int | None = None
        for alias in statement.names:
            first, _ = self.text.span(alias)
            if alias not in gone or not self._remove(first, kept):
                kept = first
        line_end = self.text.line_end(end)
        added = "".join(f"{self.text.newline}{indent}{line}" for line in new)
        if added:
            self.edits.append(Edit(line_end, line_end, added))

    def _new_imports(self, users: list[Task]) -> list[str]:
        new = []
        for module, name in sorted({OURS_FOR[task.kind] for task in users}):
            known = [binding.node for binding in self.source.names.bindings_of(name)]
            earlier = [node for node in known if isinstance(node, ast.ImportFrom)]
            if not earlier:
                new.append(f"from {module} import {name}")
        return new

    def _is_unused(self, alias: ast.alias, statement: ast.stmt, users: list[Task]) -> bool:
        """Whether the changed calls were all that used this import."""
        name = alias.asname or alias.name.partition(".")[0]
        if name == "*":
            return False
        names = self.source.names
        changed = {id(root) for task in users if (root := root_of(callee_of(task))) is not None}
        uses = [
            use
            for use in names.read.get(name, [])
            if any(binding.node is statement for binding in names.lookup(name, use))
        ]
        is_ours = any(id(use) in changed for use in uses)
        return is_ours and all(id(use) in changed for use in uses) and not self._is_exported(name)

    def _is_exported(self, name: str) -> bool:
        """Whether the name may be used elsewhere, by `__all__`."""
        return bool(self.source.names.bindings_of("__all__")) and f'"{name}"' in self.source.text.replace(
            "'", '"'
        )


def callee_of(task: Task) -> ast.expr:
    """What names the class."""
    call = task.call
    if call is None:
        raise ValueError("a task without a call is not changed")
    if is_mapped(task) and isinstance(call.func, ast.Attribute):
        return call.func.value
    return call.func


def root_of(node: ast.expr) -> ast.Name | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node if isinstance(node, ast.Name) else None


def star_import(node: ast.AST) -> Binding | None:
    """The import of everything from a module that has the provider's classes."""
    if not isinstance(node, ast.ImportFrom) or node.names[0].name != "*":
        return None
    modules = {name.rpartition(".")[0] for name in OPERATORS | SENSORS}
    return Binding(bound=Bound.IMPORT, node=node) if node.module in modules else None


def purchase_of(config: Value) -> str:
    """How the provider buys with a config: `spot`, `on_demand`, `absent` (on demand) or `unknown`."""
    if not isinstance(config, Record):
        return "unknown"
    value = config.get("EnableManagedSpotTraining")
    if value is MISSING:
        return "absent"
    if isinstance(value, Unknown) and value is config.rest:
        return "unknown"
    return {True: "spot", False: "on_demand", None: "spot"}[spot_of(config)]
