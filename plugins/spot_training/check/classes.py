"""The classes that train: the Amazon provider's, those that extend them, and ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .names import HERE, Function, Names
from .values import Values

_PROVIDER = "airflow.providers.amazon.aws"
#: Where the Amazon provider, and Airflow before it, has had its classes.
OPERATORS = frozenset(
    {
        f"{_PROVIDER}.operators.sagemaker.SageMakerTrainingOperator",
        f"{_PROVIDER}.operators.sagemaker_training.SageMakerTrainingOperator",
        "airflow.contrib.operators.sagemaker_training_operator.SageMakerTrainingOperator",
    }
)
SENSORS = frozenset(
    {
        f"{_PROVIDER}.sensors.sagemaker.SageMakerTrainingSensor",
        f"{_PROVIDER}.sensors.sagemaker_training.SageMakerTrainingSensor",
        "airflow.contrib.sensors.sagemaker_training_sensor.SageMakerTrainingSensor",
    }
)
HOOKS = frozenset(
    {f"{_PROVIDER}.hooks.sagemaker.SageMakerHook", "airflow.contrib.hooks.sagemaker_hook.SageMakerHook"}
)
#: Tasks that train in a way that this command does not look into.
OTHERS = {
    f"{_PROVIDER}.operators.sagemaker.SageMakerStartPipelineOperator": "the pipeline's training steps are",
    f"{_PROVIDER}.operators.sagemaker.SageMakerTuningOperator": "the training jobs of the tuning job are",
    f"{_PROVIDER}.operators.sagemaker.SageMakerAutoMLOperator": "the training jobs of the AutoML job are",
    "sagemaker.workflow.steps.TrainingStep": "the training step of a SageMaker pipeline is",
}
OURS = frozenset(
    {
        "spot_training.operators.SpotTrainingOperator",
        "spot_training.sensors.SpotTrainingSensor",
    }
)
#: Files without any of these words need no look.
WORDS = ("sagemaker", "spot_training")


class Kind(StrEnum):
    """How a task trains."""

    OPERATOR = "operator"
    SENSOR = "sensor"
    #: `SageMakerHook.create_training_job`.
    HOOK = "hook"
    #: boto3's `create_training_job`.
    CLIENT = "client"
    #: An Estimator or ModelTrainer of the SageMaker SDK, with managed spot.
    SDK = "sdk"
    OTHER = "other"
    OURS = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subclass:
    """A class of one's own that extends the provider's."""

    name: str
    kind: Kind
    #: The methods that it defines.
    methods: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A file that was read and parsed."""

    path: Path
    text: str
    encoding: str
    names: Names
    values: Values

    @classmethod
    def of(cls, path: Path, text: str, encoding: str, tree: ast.Module) -> Source:
        names = Names.of(tree)
        return cls(path, text, encoding, names, Values(names))


#: Subclasses by file and name.
Subclasses = Mapping[tuple[Path, str], Subclass]


def subclasses_of(sources: list[Source]) -> dict[tuple[Path, str], Subclass]:
    """Find the subclasses of the provider's classes in all files, also subclasses of subclasses."""
    found: dict[tuple[Path, str], Subclass] = {}
    while True:
        new = {
            (source.path, name): subclass
            for source in sources
            for name, subclass in _subclasses_in(source, found)
            if (source.path, name) not in found
        }
        if not new:
            return found
        found |= new


def _subclasses_in(source: Source, known: Subclasses) -> Iterator[tuple[str, Subclass]]:
    for node in source.names.classes:
        if (subclass := _as_subclass(node, source, known)) is not None:
            yield node.name, subclass
    # Other files may import the provider's classes from this one.
    for name in source.names.top_names():
        dotted = source.names.resolve_top(name)
        if dotted & (OPERATORS | SENSORS):
            kind = Kind.OPERATOR if dotted & OPERATORS else Kind.SENSOR
            yield name, Subclass(name=name, kind=kind, methods=frozenset())


def _as_subclass(node: ast.ClassDef, source: Source, known: Subclasses) -> Subclass | None:
    methods = frozenset(item.name for item in node.body if isinstance(item, Function))
    for base in node.bases:
        dotted = source.names.resolve(base)
        if dotted & OPERATORS:
            return Subclass(name=node.name, kind=Kind.OPERATOR, methods=methods)
        if dotted & SENSORS:
            return Subclass(name=node.name, kind=Kind.SENSOR, methods=methods)
        if (parent := subclass_named(dotted, source, known)) is not None:
            return Subclass(name=node.name, kind=parent.kind, methods=methods | parent.methods)
    return None


#: What the provider's classes are called.
NAMES = frozenset(name.rpartition(".")[2] for name in OPERATORS | SENSORS)


def subclass_named(dotted: frozenset[str], source: Source, known: Subclasses) -> Subclass | None:
    for name in dotted:
        module, _, last = name.rpartition(".")
        for (path, own), subclass in known.items():
            if own == last and (
                path == source.path if module == HERE else _is_module(path, module, source.path)
            ):
                return subclass
    return None


def _is_module(path: Path, module: str, importing: Path) -> bool:
    """Whether a module that a file imports may be this file."""
    parts = path.with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    level = len(module) - len(module.lstrip("."))
    wanted = tuple(part for part in module.lstrip(".").split(".") if part)
    if level:
        return parts == (*importing.parts[: len(importing.parts) - level], *wanted)
    return bool(wanted) and parts[-len(wanted) :] == wanted
