"""The license of an installed package, as its metadata has it."""

from __future__ import annotations

from importlib.metadata import Distribution

#: How classifiers and the older field say it -> SPDX.
_NAMES = {
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "BSD License": "BSD",
    "Python Software Foundation License": "PSF-2.0",
    "CC0": "CC0-1.0",
}
#: Classifiers that name no license.
_NO_NAMES = {"OSI Approved", "DFSG approved"}


def license_of(package: Distribution) -> str | None:
    """The license expression, else the classifiers, else a short text in the field `License`."""
    metadata = package.metadata
    expression, words = ("".join(metadata.get_all(name) or []) for name in ("License-Expression", "License"))
    listed = [
        str(each).rsplit(" :: ", 1)[-1]
        for each in metadata.get_all("Classifier") or []
        if str(each).startswith("License ::")
    ]
    named = sorted({_NAMES.get(each, each) for each in listed} - _NO_NAMES)
    if expression:
        return expression
    if words and "\n" not in words and (not named or named == ["BSD"]):
        return _NAMES.get(words, words)
    return " AND ".join(named) or None
