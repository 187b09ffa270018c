"""Do the tests notice when the code that carries the promise is wrong? Small faults, drawn by a seed.

    .venv/bin/python benchmarks/mutations.py draw --seed 13 --count 60 > benchmarks/mutations-13.json
    .venv/bin/python benchmarks/mutations.py run benchmarks/mutations-13.json

`draw` writes the list, which is committed before a test is written for it: a site is named by its file, the
function it is in, what is changed there and its place among the same changes in that function, so that the
list outlives edits elsewhere. `run` makes a copy of the project for each, changes that one place, runs the
tests of the module and prints which faults survived, and which test noticed each other one. Exit status 1 if
fewer than `--at-least` percent die.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("plugins") / "spot_training"


def _tests(folder: str, *subjects: str) -> tuple[str, ...]:
    return tuple(f"tests/{folder}/test_{subject}.py" for subject in subjects)


_DRIVER = (
    *_tests("domain", "ladder", "decide"),
    *_tests("training", "wrong_answers", "driver_names", "driver", "driver_calls", "old_state"),
    *_tests("task", "failing_tasks", "spent_retries"),
    *_tests("training", "deadlines", "sequences"),
    *_tests("task", "budget"),
)
_WATCHER = _tests(
    "watching", "watcher", "watcher_pace", "watcher_trouble", "watcher_events", "watcher_trigger"
)
_RECORDER = (*_tests("training", "recorder"), *_tests("sweep", "settling"), "tests/ledger")
_DEADLINE = (
    *_tests("domain", "deadline", "keep_deadline"),
    *_tests("task", "deadline"),
    *_tests("watching", "deadline_stop"),
    *_tests("training", "deadlines"),
)
#: The modules that carry the promise, and the tests that are asked of each, the quick ones first.
TESTS: dict[str, tuple[str, ...]] = {
    "training/active.py": _DRIVER,
    "training/adoption.py": _DRIVER,
    "training/creating.py": _DRIVER,
    "training/deciding.py": _DRIVER,
    "training/describing.py": _DRIVER,
    "training/driver.py": _DRIVER,
    "training/outcome.py": _DRIVER,
    "training/stopping.py": _DRIVER,
    "training/tries.py": _DRIVER,
    "sagemaker/jobs.py": (*_tests("sagemaker", "jobs"), *_DRIVER),
    "sagemaker/calls.py": (*_tests("sagemaker", "jobs"), *_DRIVER),
    "sagemaker/descriptions.py": (*_tests("sagemaker", "jobs"), *_DRIVER),
    "training/state.py": (*_tests("training", "old_state"), *_DRIVER),
    "sagemaker/certainty.py": (*_tests("sagemaker", "certainty"), *_DRIVER),
    "task/task_state.py": _tests("task", "on_kill"),
    "triggers.py": (
        *_tests("task", "on_kill"),
        *_tests("watching", "deadline_stop"),
        *_tests("training", "old_state"),
        *_WATCHER,
    ),
    **{
        f"watching/{name}.py": _WATCHER
        for name in ("watcher", "registry", "listing", "describing", "event_feed")
    },
    "watching/windows.py": _WATCHER,
    "sweep/orphans.py": _tests("sweep", "orphans", "places", "command"),
    "training/recorder.py": _RECORDER,
    "training/record_memory.py": _RECORDER,
    "training/record_writer.py": _RECORDER,
    "domain/decide.py": (
        *_tests("domain", "decide", "keep_deadline", "budget"),
        *_tests("training", "deadlines"),
        *_tests("task", "budget"),
    ),
    "domain/deadline.py": _DEADLINE,
    "domain/runtime.py": _DEADLINE,
    "domain/moments.py": _DEADLINE,
    "dashboard/access.py": _tests("dashboard", "api", "page"),
}
#: A fault that makes the tests hang is noticed, too.
MOST_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One fault: the `number`-th (from 1) change of this kind in a function."""

    module: str
    function: str
    kind: str
    number: int


# The changes ------------------------------------------------------------------------------------------

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
}


def _change(node: ast.AST) -> tuple[str, ast.AST] | None:
    """What is done to a node, in words, and what it becomes; None where nothing is."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARISONS:
            other = _COMPARISONS[type(operator)]
            compared = ast.Compare(left=node.left, ops=[other()], comparators=node.comparators)
            return f"{type(operator).__name__} becomes {other.__name__}", compared
        case ast.BoolOp(op=operator):
            other_op = ast.Or() if isinstance(operator, ast.And) else ast.And()
            joined = ast.BoolOp(op=other_op, values=node.values)
            return f"{type(operator).__name__} becomes {type(other_op).__name__}", joined
        case ast.UnaryOp(op=ast.Not()):
            return "not is left out", node.operand
        case ast.BinOp(op=operator) if type(operator) in _ARITHMETIC and not _has_text(node):
            other_arithmetic = _ARITHMETIC[type(operator)]
            computed = ast.BinOp(left=node.left, op=other_arithmetic(), right=node.right)
            return f"{type(operator).__name__} becomes {other_arithmetic.__name__}", computed
        case ast.Constant(value=bool(value)):
            return f"{value} becomes {not value}", ast.Constant(value=not value)
        case ast.Constant(value=int(value) | float(value)):
            return "a number becomes another", ast.Constant(value=value + 1)
        case ast.IfExp():
            return "an if expression is turned round", ast.IfExp(node.test, node.orelse, node.body)
        case ast.Expr(value=ast.Call() | ast.Await()):
            return "a call is left out", ast.Pass()
        case ast.Return(value=value) if value is not None and not _is_none(value):
            return "nothing is returned", ast.Return(value=ast.Constant(value=None))
        case _:
            return None


def _has_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in ast.walk(node)
    )


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def sites(tree: ast.Module) -> Iterator[tuple[str, str, int, ast.AST, ast.AST]]:
    """Every place that can be changed: function, kind, number, the node, and what it becomes."""
    counts: Counter[tuple[str, str]] = Counter()
    for function, node in _nodes(tree, ""):
        if (found := _change(node)) is None:
            continue
        kind, changed = found
        counts[function, kind] += 1
        yield function, kind, counts[function, kind], node, changed


def _nodes(node: ast.AST, function: str) -> Iterator[tuple[str, ast.AST]]:
    """All nodes within functions, but for annotations, decorators and docstrings."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            inner = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{function}.{child.name}".lstrip(".")
            elif function and not isinstance(node, ast.ClassDef):
                yield function, child
            yield from _nodes(child, inner)


def mutated(source: str, mutation: Mutation) -> str:
    """The module with that one change. Raises `LookupError` where the place is not there any more."""
    tree = ast.parse(source)
    for function, kind, number, node, changed in sites(tree):
        if (function, kind, number) == (mutation.function, mutation.kind, mutation.number):
            _Replace(node, changed).visit(tree)
            return ast.unparse(ast.fix_missing_locations(tree))
    raise LookupError(f"{mutation} is not there any more: its code has changed")


class _Replace(ast.NodeTransformer):
    def __init__(self, node: ast.AST, changed: ast.AST) -> None:
        self._node, self._changed = node, changed

    def visit(self, node: ast.AST) -> Any:
        return self._changed if node is self._node else self.generic_visit(node)


# Drawing and running ----------------------------------------------------------------------------------


def draw(seed: int, count: int) -> list[Mutation]:
    """So many of all possible faults, spread over the modules by how many each has."""
    every = [
        Mutation(module=module, function=function, kind=kind, number=number)
        for module in TESTS
        for function, kind, number, _, _ in sites(ast.parse((ROOT / PACKAGE / module).read_text()))
    ]
    return random.Random(seed).sample(every, count)  # noqa: S311 - a draw that can be made again


def who_notices(mutation: Mutation) -> str | None:
    """The first test that fails with this fault, "" if none does; None where its code is gone."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", ".demo", "*.pyc"))
        for environment in ROOT.glob(".venv*"):
            (copy / environment.name).symlink_to(environment)
        module = copy / PACKAGE / mutation.module
        try:
            module.write_text(mutated(module.read_text(), mutation))
        except LookupError:
            return None
        return _first_failure(copy, TESTS[mutation.module])


def _first_failure(folder: Path, tests: Sequence[str]) -> str:
    # The copy comes before the project that the environment has installed.
    folders = (folder / "plugins", folder / "packages" / "local-sagemaker", folder)
    paths = os.pathsep.join(map(str, folders))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "no end"
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout.decode(errors="replace"), re.MULTILINE)
    return failed[1] if failed else f"pytest's exit status {done.returncode}"


def run(mutations: Sequence[Mutation], *, at_least: float, at_once: int) -> int:
    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        outcomes = []
        for mutation, noticed in zip(mutations, pool.map(who_notices, mutations), strict=True):
            word = {None: "gone", "": "SURVIVED"}.get(noticed, "noticed")
            place = f"{mutation.module} {mutation.function}"
            by = f", by {noticed}" if noticed else ""
            print(f"{word:<9} {place}: {mutation.kind} ({mutation.number}){by}", flush=True)
            outcomes.append(noticed)
    counted = [bool(noticed) for noticed in outcomes if noticed is not None]
    share = 100 * sum(counted) / max(1, len(counted))
    minutes = (time.monotonic() - began) / 60
    print(f"\n{sum(counted)} of {len(counted)} faults noticed ({share:.1f} %), in {minutes:.0f} min")
    return 0 if share >= at_least else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, dest="command")
    drawing = commands.add_parser("draw", help="write a list as JSON")
    drawing.add_argument("--seed", type=int, default=13)
    drawing.add_argument("--count", type=int, default=60)
    running = commands.add_parser("run", help="play the faults of a list")
    running.add_argument("list", type=Path)
    running.add_argument("--at-least", type=float, default=95.0, help="percent (%(default)g)")
    running.add_argument("--at-once", type=int, default=1)
    running.add_argument("--only", type=int, nargs="*", help="places in the list, from 1")
    options = parser.parse_args()
    if options.command == "draw":
        print(json.dumps([asdict(each) for each in draw(options.seed, options.count)], indent=1))
        return 0
    mutations = [Mutation(**each) for each in json.loads(options.list.read_text())]
    if options.only:
        mutations = [mutations[place - 1] for place in options.only]
    return run(mutations, at_least=options.at_least, at_once=options.at_once)


if __name__ == "__main__":
    sys.exit(main())
