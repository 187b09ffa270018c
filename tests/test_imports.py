"""Who may import whom: domain <- aws <- the Airflow shapes <- dags, and the local SageMaker by itself."""

from __future__ import annotations

import ast
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
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
DOMAIN, AWS = "spot_training.domain", "spot_training.aws"
#: Airflow's classes, and what carries a training to its end.
_TRAINING = tuple(
    f"spot_training.{name}"
    for name in ("operators", "sensors", "triggers", "training_task", "base", "links", "aws.driver")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """What the files of a room may import; with `allowed` None, all but what is `forbidden`.

    The standard library is always allowed. A name stands for the module and everything in it; the longest
    name that fits decides.
    """

    room: str
    allowed: tuple[str, ...] | None = None
    forbidden: tuple[str, ...] = ()


#: The folders of the local SageMaker, each above what it may import, with the packages it needs of others.
LOCAL_LAYERS = {
    "market": ("yaml",),
    "jobs": (),
    "services": ("moto", "regex", "yaml"),
    "containers": ("psutil", "yaml"),
    "api": ("botocore",),
    "control": (),
    "http": ("moto",),
}
#: Its modules that any folder may import. They import no folder.
LOCAL_BASE = tuple(f"local_sagemaker.{name}" for name in ("account", "clock", "reply", "service_model"))


def _layer_walls() -> Iterator[Wall]:
    below = LOCAL_BASE
    for folder, others in LOCAL_LAYERS.items():
        below = (*below, f"local_sagemaker.{folder}")
        # `from local_sagemaker.jobs import rules` names the package, too.
        yield Wall(room=f"{PACKAGE}/local_sagemaker/{folder}", allowed=(*below, *others))


WALLS = [
    Wall(room="plugins/spot_training/domain", allowed=(DOMAIN,)),
    Wall(room="plugins/spot_training/aws", allowed=(DOMAIN, AWS, "boto3", "botocore")),
    Wall(room="plugins/spot_training/advise", forbidden=_TRAINING),
    Wall(
        room="plugins/spot_training",
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
    Wall(
        room=f"{PACKAGE}/local_sagemaker",
        allowed=("local_sagemaker", "boto3", "botocore", "moto", "psutil", "regex", "yaml"),
    ),
    *_layer_walls(),
    Wall(room=f"{PACKAGE}/spot_drill", allowed=("local_sagemaker", "spot_drill", "pytest")),
    Wall(room="include/local_sagemaker", allowed=("local_sagemaker", "spot_drill")),
    Wall(
        room="include/local_stack",
        forbidden=("airflow", "spot_training", "local_sagemaker", "include.local_sagemaker"),
    ),
    Wall(room="include/training", forbidden=("airflow", "spot_training", "include")),
    Wall(room="include/flight_delays", forbidden=("airflow",)),
    Wall(
        room="dags",
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
            # `from spot_training import aws` imports spot_training.aws
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _is_in(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _may_import(wall: Wall, module: str) -> bool:
    if module.partition(".")[0] in sys.stdlib_module_names:
        return True
    if wall.allowed is not None:
        return _is_in(module, wall.allowed)
    return not _is_in(module, wall.forbidden)


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.room)
def test_every_file_keeps_to_its_walls(wall: Wall) -> None:
    breaches = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sorted((ROOT / wall.room).rglob("*.py"))
        for module in sorted(set(_list_imports(path)))
        if not _may_import(wall, module)
    ]
    assert breaches == []


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.room)
def test_every_room_with_a_wall_exists(wall: Wall) -> None:
    assert any((ROOT / wall.room).rglob("*.py"))


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
    assert folders == set(LOCAL_LAYERS)
    for name in LOCAL_BASE:
        imported = set(_list_imports(package / f"{name.rpartition('.')[2]}.py"))
        assert not {module for module in imported if module.startswith("local_sagemaker")}


def _name_module(path: Path) -> str:
    return ".".join((_name_package(path), path.stem)).removesuffix(".__init__")


def test_the_modules_of_the_local_sagemaker_and_the_drill_import_each_other_in_no_circle() -> None:
    """Imports that only a type checker makes count, too."""
    paths = {
        _name_module(path): path
        for package in ("local_sagemaker", "spot_drill")
        for path in (ROOT / PACKAGE / package).rglob("*.py")
        # The package's own names load their modules on first use.
        if path != ROOT / PACKAGE / "local_sagemaker" / "__init__.py"
    }
    imported = {name: set(_list_modules(path, paths)) - {name} for name, path in paths.items()}
    assert sum(map(len, imported.values())) > 100
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as exc:
        raise AssertionError(" <- ".join(exc.args[1])) from None


def _list_modules(path: Path, known: Container[str]) -> Iterator[str]:
    for name in _list_imports(path):
        module = name if name in known else name.rpartition(".")[0]
        if module in known:
            yield module


@pytest.mark.parametrize(
    ("room", "module", "expected"),
    [
        ("plugins/spot_training/domain", "dataclasses", True),
        ("plugins/spot_training/domain", "spot_training.domain.errors", True),
        ("plugins/spot_training/domain", "spot_training.aws.request", False),
        ("plugins/spot_training/domain", "yaml", False),
        ("plugins/spot_training/aws", "botocore.exceptions", True),
        ("plugins/spot_training/aws", "airflow.sdk", False),
        ("plugins/spot_training/aws", "spot_training.policies", False),
        ("plugins/spot_training/advise", "spot_training.past_runs", True),
        ("plugins/spot_training/advise", "spot_training.aws.driver", False),
        ("plugins/spot_training/advise", "spot_training.training_task", False),
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
        ("include/training", "include.flight_delays.data", False),
        ("include/training", "xgboost", True),
    ],
)
def test_a_wall_tells_what_may_pass(room: str, module: str, expected: bool) -> None:
    wall = next(wall for wall in WALLS if wall.room == room)
    assert _may_import(wall, module) is expected


def test_relative_imports_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plugins" / "spot_training" / "domain"
    folder.mkdir(parents=True)
    (folder / "x.py").write_text("from ..aws import jobs\nfrom . import errors\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "SOURCE_FOLDERS", {"plugins": tmp_path / "plugins"})
    assert sorted(_list_imports(folder / "x.py")) == ["spot_training.aws.jobs", "spot_training.domain.errors"]
