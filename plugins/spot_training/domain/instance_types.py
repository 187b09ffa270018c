"""What instance types have in common: whether one training script and image can run on each of them.

Source: the type's name, as AWS composes it (family, generation, attributes, size), and "Instance types" in
the SageMaker developer guide: `p` and `g` have GPUs, `trn` AWS Trainium, `inf` AWS Inferentia, `dl` Gaudi;
a `g` after the generation is a Graviton processor (arm64), but for the family `g` itself (`g5g`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import InvalidInput

_TYPE = re.compile(
    r"ml\.(?P<family>[a-z]+)(?P<generation>\d+)(?P<attributes>[a-z0-9-]*)\.(?P<size>[a-z0-9-]+)"
)
_ACCELERATORS = {"p": "GPU", "g": "GPU", "gr": "GPU", "trn": "Trainium", "inf": "Inferentia", "dl": "Gaudi"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What an image and a script are built for."""

    architecture: str
    accelerator: str | None

    def __str__(self) -> str:
        return f"{self.architecture}, {self.accelerator or 'no accelerator'}"


def kind_of(instance_type: str) -> Kind | None:
    """The kind of a type, or None if its name has another form."""
    found = _TYPE.fullmatch(instance_type)
    if found is None:
        return None
    attributes, _, model = found["attributes"].partition("-")
    is_arm = "g" in attributes or model.startswith("gb")  # a Grace Blackwell has an arm64 processor, too
    return Kind("arm64" if is_arm else "x86-64", _ACCELERATORS.get(found["family"]))


def check_types(types: Sequence[str], *, field: str) -> None:
    """Refuse types between which one training cannot move: other processors, other accelerators."""
    if len(set(types)) < len(types):
        raise InvalidInput(field, list(types), "name each instance type once.")
    kinds = {name: kind for name in types if (kind := kind_of(name)) is not None}
    for name, kind in kinds.items():
        first, wanted = next(iter(kinds.items()))
        if kind != wanted:
            raise InvalidInput(
                field,
                list(types),
                f"a training moves between them with one image and one script, but {first} has {wanted}, and "
                f"{name} has {kind}. Make a step for each.",
            )


def check_processor(types: Sequence[str], *, own: str, field: str) -> None:
    """Refuse types with another processor than the request's own: its image is made for that one."""
    wanted = kind_of(own)
    for name in types:
        kind = kind_of(name)
        if wanted and kind and kind.architecture != wanted.architecture:
            raise InvalidInput(
                field,
                list(types),
                f"the config has {own}, so its image is for {wanted.architecture}, and {name} has "
                f"{kind.architecture}. Change the type and the image in the config, or leave it out.",
            )


#: How many accelerators an instance has, by what is before and after the dot; a size that is not listed has
#: `""`. Source: "Instance types" in the SageMaker developer guide.
_GPUS = {"": 1, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
_COUNTS: dict[str, dict[str, int]] = {
    **dict.fromkeys(("g5", "g6", "g6e"), _GPUS),
    "g4dn": {"": 1, "12xlarge": 4},
    "p2": {"xlarge": 1, "8xlarge": 8, "16xlarge": 16},
    "p3": {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8},
    **{series: {"24xlarge": 8} for series in ("p3dn", "p4d", "p4de", "dl1")},
    "p5": {"4xlarge": 1, "48xlarge": 8},
    **{series: {"48xlarge": 8} for series in ("p5e", "p5en")},
    "trn1": {"2xlarge": 1, "32xlarge": 16},
    "trn1n": {"32xlarge": 16},
    "trn2": {"48xlarge": 16},
}


def accelerators_of(instance_type: str) -> int | None:
    """How many an instance of the type has, or None if that is not known here."""
    kind = kind_of(instance_type)
    if kind is None or kind.accelerator is None:
        return None if kind is None else 0
    _, series, size = instance_type.split(".", 2)
    counts = _COUNTS.get(series, {})
    return counts.get(size, counts.get(""))


def check_accelerators(types: Sequence[str], *, needed: int, field: str) -> None:
    """Refuse types with fewer accelerators than the script needs. What is not known here is accepted."""
    for name in types:
        found = accelerators_of(name)
        if found is not None and found < needed:
            why = f"accelerators says that the script needs {needed}, and {name} has {found}."
            raise InvalidInput(field, list(types), why)
