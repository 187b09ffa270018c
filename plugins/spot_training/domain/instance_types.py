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
