"""Who may import whom: domain <- sagemaker <- training, watching <- task <- Airflow's classes <- dags."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "packages/local-sagemaker"
SOURCE_FOLDERS = {
    "plugins": ROOT / "plugins",
    "packages": ROOT / PACKAGE,
    "include": ROOT,
    "dags": ROOT / "dags",
}
_SPOT = "spot_training"


def _product(*names: str) -> tuple[str, ...]:
    return tuple(f"{_SPOT}.{name}" for name in names)


_BOTO = ("boto3", "botocore")
#: Airflow's classes: nothing of the product imports them, except what makes tasks of them.
_AIRFLOW_CLASSES = _product("operators", "sensors", "triggers", "links", "approval", "plugin")
#: What carries and follows a training.
_TRAINING = (
    *_AIRFLOW_CLASSES,
    *_product(*(f"task.{name}" for name in ("base", "options", "specification", "training", "waiting"))),
    *_product(*(f"training.{name}" for name in ("active", "creating", "deciding", "driver", "stopping"))),
    *_product("watching"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the files of a folder may import; with `allowed` None, all but what is `forbidden`.

    The standard library is always allowed. A name stands for the module and everything in it; the longest
    name that fits decides.
    """

    folder: str
    allowed: tuple[str, ...] | None = None
    forbidden: tuple[str, ...] = ()
    #: What single files may import as well, by name.
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


#: The folders of the local SageMaker, each above what it may import, with the packages it needs of others.
LOCAL_LAYERS = {
    "market": ("yaml",),
    "jobs": (),
    "services": ("moto", "regex", "yaml"),
    "containers": ("psutil", "yaml"),
    "api": ("botocore",),
    "control": (),
    "http": ("aiohttp", "moto"),
}
#: Its modules that any folder may import. They import no folder.
LOCAL_BASE = tuple(f"local_sagemaker.{name}" for name in ("account", "clock", "reply", "service_model"))


def _layer_rules() -> Iterator[Rule]:
    below = LOCAL_BASE
    for folder, others in LOCAL_LAYERS.items():
        below = (*below, f"local_sagemaker.{folder}")
        # `from local_sagemaker.jobs import rules` names the package, too.
        yield Rule(folder=f"{PACKAGE}/local_sagemaker/{folder}", allowed=(*below, *others))


RULES = [
    Rule(folder="plugins/spot_training/domain", allowed=_product("domain")),
    Rule(
        folder="plugins/spot_training/sagemaker",
        allowed=(*_product("domain", "sagemaker", "process", "metrics"), *_BOTO),
    ),
    Rule(
        folder="plugins/spot_training/watching",
        allowed=(*_product("domain", "sagemaker", "watching", "process", "metrics"), *_BOTO),
    ),
    Rule(
        folder="plugins/spot_training/training",
        allowed=(*_product("domain", "sagemaker", "training", "ledger", "process", "metrics"), *_BOTO),
    ),
    Rule(
        folder="plugins/spot_training/ledger",
        allowed=(*_product("domain", "ledger", "process"), "botocore", "duckdb", "fsspec", "yaml"),
        # Opens the ledger that Airflow's configuration names, with one of Airflow's connections.
        also={"opening.py": (*_product("settings", "connections", "compat"), "airflow.sdk", "boto3")},
    ),
    Rule(folder="plugins/spot_training/task", forbidden=_AIRFLOW_CLASSES),
    # Runs where Airflow is not configured.
    Rule(
        folder="plugins/spot_training/check",
        allowed=_product("check", "domain", "task.constants"),
    ),
    # Runs beside Airflow, or on another machine; boto3 only with --aws.
    Rule(
        folder="plugins/spot_training/commands",
        allowed=_product("commands", "domain"),
        also={
            "logs.py": (*_product("sagemaker.logs"), "boto3", "botocore"),
            "stop.py": ("boto3", "botocore"),
            # The advisor and the sweep from here are in their own folders.
            "advise.py": _product("advise", "task.past_runs"),
            "sweep.py": _product("sweep.command"),
        },
    ),
    Rule(folder="plugins/spot_training/sweep", forbidden=_TRAINING),
    Rule(folder="plugins/spot_training/advise", forbidden=_TRAINING),
    Rule(folder="plugins/spot_training/dashboard", forbidden=_TRAINING),
    Rule(folder="plugins/spot_training/report", forbidden=(*_TRAINING, *_product("dashboard"))),
    Rule(
        folder="plugins/spot_training",
        forbidden=(
            "include",
            "dags",
            "moto",
            "local_sagemaker",
            "spot_drill",
            "benchmarks",
            "numpy",
            "numba",
        ),
    ),
    # A package of its own: what it imports is in its requirements.
    Rule(
        folder=f"{PACKAGE}/local_sagemaker",
        allowed=("local_sagemaker", "aiohttp", "boto3", "botocore", "moto", "psutil", "regex", "yaml"),
    ),
    *_layer_rules(),
    # A client of the service, which may be AWS.
    Rule(
        folder=f"{PACKAGE}/local_sagemaker/conformance",
        allowed=(
            *(f"local_sagemaker.{name}" for name in ("account", "conformance", "process")),
            "local_sagemaker.services.pricing",
            *_BOTO,
            "yaml",
        ),
    ),
    Rule(folder=f"{PACKAGE}/spot_drill", allowed=("local_sagemaker", "spot_drill", "pytest")),
    Rule(folder="include/local_sagemaker", allowed=("local_sagemaker", "spot_drill")),
    Rule(
        folder="include/local_stack",
        forbidden=("airflow", "spot_training", "local_sagemaker", "include.local_sagemaker"),
    ),
    Rule(folder="include/training", forbidden=("airflow", "spot_training", "include")),
    Rule(folder="include/flight_delays", forbidden=("airflow",)),
    Rule(
        folder="dags",
        forbidden=("local_sagemaker", "spot_drill", "include.local_sagemaker", "include.local_stack"),
    ),
]


def _name_package(path: Path) -> str:
    source = SOURCE_FOLDERS[path.relative_to(ROOT).parts[0]]
    return ".".join(path.relative_to(source).parent.parts)


def _list_imports(path: Path) -> Iterator[str]:
    """Every module a file imports, at the top and inside functions, also for type checkers only."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = _name_package(path).split(".")
                kept = package[: len(package) - node.level + 1]
                base = ".".join([*kept, base]) if base else ".".join(kept)
            # `from spot_training import sagemaker` imports spot_training.sagemaker
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _is_in(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _may_import(rule: Rule, module: str, file: str = "") -> bool:
    if module.partition(".")[0] in sys.stdlib_module_names:
        return True
    if rule.allowed is not None:
        return _is_in(module, (*rule.allowed, *rule.also.get(file, ())))
    return not _is_in(module, rule.forbidden)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.folder)
def test_every_file_keeps_to_its_rule(rule: Rule) -> None:
    breaches = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sorted((ROOT / rule.folder).rglob("*.py"))
        for module in sorted(set(_list_imports(path)))
        if not _may_import(rule, module, path.name)
    ]
    assert breaches == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.folder)
def test_every_folder_with_a_rule_exists(rule: Rule) -> None:
    assert any((ROOT / rule.folder).rglob("*.py"))


def _import_graph(package: Path) -> dict[str, set[str]]:
    """Which of its own modules each module of a package imports: anywhere, and for type checkers, too."""
    paths = {_name_module(path): path for path in package.rglob("*.py")}

    def module_of(name: str) -> str:
        while name and name not in paths:
            name = name.rpartition(".")[0]
        return name

    return {
        module: {found for name in _list_imports(path) if (found := module_of(name)) and found != module}
        for module, path in paths.items()
    }


def _name_module(path: Path) -> str:
    package = _name_package(path)
    return package if path.stem == "__init__" else f"{package}.{path.stem}"


def _list_circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Modules that import each other, directly or by way of others."""

    def reach(start: str) -> set[str]:
        reached: set[str] = set()
        due = [start]
        while due:
            new = graph[due.pop()] - reached
            reached |= new
            due += new
        return reached

    reached = {module: reach(module) for module in graph}
    circles = [
        {other for other in reached[module] if module in reached[other]}
        for module in graph
        if module in reached[module]
    ]
    return [circle for number, circle in enumerate(circles) if circle not in circles[:number]]


@pytest.mark.parametrize(
    "package", [f"plugins/{_SPOT}", f"{PACKAGE}/local_sagemaker", f"{PACKAGE}/spot_drill"]
)
def test_there_are_no_import_circles(package: str) -> None:
    graph = _import_graph(ROOT / package)
    # Its names load their modules on first use.
    graph.pop("local_sagemaker", None)
    graph = {module: found - {"local_sagemaker"} for module, found in graph.items()}
    assert sum(map(len, graph.values())) > len(graph) > 5
    assert [sorted(circle) for circle in _list_circles(graph)] == []


def test_a_circle_is_found_wherever_its_imports_are() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert sorted(map(sorted, _list_circles(graph))) == [["a", "b", "c"], ["d", "e"]]


def test_the_graph_has_imports_in_functions_and_for_type_checkers() -> None:
    graph = _import_graph(ROOT / "plugins" / _SPOT)
    assert "spot_training.watching.shared" in graph["spot_training.connections"]  # in a function
    assert "spot_training.watching.registry" in graph["spot_training.watching.listing"]  # for type checkers
    assert "spot_training.ledger" in graph["spot_training.triggers"]  # a name of a package


def test_the_drill_uses_only_what_the_local_sagemaker_exports() -> None:
    import local_sagemaker

    exported = {f"local_sagemaker.{name}" for name in local_sagemaker.__all__}
    used = {
        module
        for path in (ROOT / PACKAGE / "spot_drill").glob("*.py")
        for module in _list_imports(path)
        if module.startswith("local_sagemaker")
    }
    assert used
    assert used <= exported
    for name in local_sagemaker.__all__:
        assert hasattr(local_sagemaker, name)


def test_every_folder_and_base_module_of_the_local_sagemaker_has_a_layer() -> None:
    package = ROOT / PACKAGE / "local_sagemaker"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert folders == {*LOCAL_LAYERS, "conformance"}
    for name in LOCAL_BASE:
        imported = set(_list_imports(package / f"{name.rpartition('.')[2]}.py"))
        assert not {module for module in imported if module.startswith("local_sagemaker")}


@pytest.mark.parametrize(
    ("folder", "module", "expected"),
    [
        ("plugins/spot_training/domain", "dataclasses", True),
        ("plugins/spot_training/domain", "spot_training.domain.errors", True),
        ("plugins/spot_training/domain", "spot_training.sagemaker.request", False),
        ("plugins/spot_training/domain", "yaml", False),
        ("plugins/spot_training/sagemaker", "botocore.exceptions", True),
        ("plugins/spot_training/sagemaker", "airflow.sdk", False),
        ("plugins/spot_training/sagemaker", "spot_training.watching.watcher", False),
        ("plugins/spot_training/watching", "spot_training.sagemaker.jobs", True),
        ("plugins/spot_training/watching", "spot_training.training.driver", False),
        ("plugins/spot_training/training", "airflow.sdk", False),
        ("plugins/spot_training/training", "spot_training.task.training", False),
        ("plugins/spot_training/ledger", "spot_training.domain.totals", True),
        ("plugins/spot_training/ledger", "spot_training.sagemaker.prices", False),
        ("plugins/spot_training/ledger", "spot_training.settings", False),
        ("plugins/spot_training/task", "spot_training.operators", False),
        ("plugins/spot_training/task", "spot_training.triggers", False),
        ("plugins/spot_training/sweep", "spot_training.training.state", True),
        ("plugins/spot_training/sweep", "spot_training.training.creating", False),
        ("plugins/spot_training/dashboard", "spot_training.task.waiting", False),
        ("plugins/spot_training/advise", "spot_training.task.past_runs", True),
        ("plugins/spot_training/advise", "spot_training.training.driver", False),
        ("plugins/spot_training/advise", "spot_training.task.training", False),
        ("plugins/spot_training/dashboard", "spot_training.training.driver", False),
        ("plugins/spot_training/report", "spot_training.dashboard.app", False),
        ("plugins/spot_training", "numpy.typing", False),
        ("plugins/spot_training", "benchmarks.policies", False),
        (f"{PACKAGE}/local_sagemaker", "moto.core.responses", True),
        (f"{PACKAGE}/local_sagemaker", "spot_training.domain.lifecycle", False),
        (f"{PACKAGE}/local_sagemaker", "airflow.sdk", False),
        (f"{PACKAGE}/local_sagemaker", "include.local_stack", False),
        (f"{PACKAGE}/local_sagemaker", "spot_drill.plan", False),
        (f"{PACKAGE}/spot_drill", "local_sagemaker.serve", True),
        (f"{PACKAGE}/spot_drill", "spot_training.domain.lifecycle", False),
        (f"{PACKAGE}/spot_drill", "moto.core.responses", False),
        (f"{PACKAGE}/local_sagemaker/market", "local_sagemaker.service_model.instance_types", True),
        (f"{PACKAGE}/local_sagemaker/market", "local_sagemaker.jobs.store", False),
        (f"{PACKAGE}/local_sagemaker/jobs", "local_sagemaker.market.Market", True),
        (f"{PACKAGE}/local_sagemaker/jobs", "local_sagemaker.services.objects", False),
        (f"{PACKAGE}/local_sagemaker/jobs", "moto.core.responses", False),
        (f"{PACKAGE}/local_sagemaker/services", "local_sagemaker.containers.processes", False),
        (f"{PACKAGE}/local_sagemaker/containers", "local_sagemaker.api.protocol", False),
        (f"{PACKAGE}/local_sagemaker/api", "local_sagemaker.control.page", False),
        (f"{PACKAGE}/local_sagemaker/control", "local_sagemaker.http.access", False),
        (f"{PACKAGE}/local_sagemaker/http", "local_sagemaker.api.protocol", True),
        (f"{PACKAGE}/local_sagemaker/http", "local_sagemaker.server", False),
        (f"{PACKAGE}/local_sagemaker/conformance", "local_sagemaker.services.pricing.PRICES_FILE", True),
        (f"{PACKAGE}/local_sagemaker/conformance", "local_sagemaker.jobs.messages", False),
        ("include/training", "include.flight_delays.data", False),
        ("include/training", "xgboost", True),
    ],
)
def test_a_rule_says_what_may_be_imported(folder: str, module: str, expected: bool) -> None:
    rule = next(rule for rule in RULES if rule.folder == folder)
    assert _may_import(rule, module) is expected


def test_relative_imports_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plugins" / "spot_training" / "domain"
    folder.mkdir(parents=True)
    (folder / "x.py").write_text("from ..sagemaker import jobs\nfrom . import errors\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "SOURCE_FOLDERS", {"plugins": tmp_path / "plugins"})
    assert sorted(_list_imports(folder / "x.py")) == [
        "spot_training.domain.errors",
        "spot_training.sagemaker.jobs",
    ]
