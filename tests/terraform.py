"""Terraform files as far as they can be read without Terraform and its providers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hcl2

_BLOCK = re.compile(r'^(variable|resource|data|output|module) "(\w+)"(?: "(\w+)")? \{', re.MULTILINE)
_LOCAL = re.compile(r"^  (\w+)\s*=", re.MULTILINE)
_LOCALS = re.compile(r"^locals \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)


def read_text(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.tf")))


def parse(folder: Path) -> dict[str, list[Any]]:
    """Kind of block -> the blocks of that kind, of all files of a module."""
    found: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("*.tf")):
        with path.open() as file:
            for kind, blocks in hcl2.load(file).items():
                found.setdefault(kind, []).extend(blocks)
    return found


def find_undefined(folder: Path) -> set[str]:
    """What the files of a module refer to, and do not define."""
    text = re.sub(r"^\s*#.*", "", read_text(folder), flags=re.MULTILINE)
    defined = {".".join(part for part in match if part) for match in _BLOCK.findall(text)}
    defined |= {f"local.{name}" for body in _LOCALS.findall(text) for name in _LOCAL.findall(body)}
    code = re.sub(r'"(?:[^"\\$]|\$[^{])*"', "", text)
    referred = re.findall(r"\b(var|local|module|data\.\w+|aws_\w+)\.(\w+)", code)
    wanted = {(f"variable.{name}" if kind == "var" else f"{kind}.{name}") for kind, name in referred}
    return {each for each in wanted if each not in defined and f"resource.{each}" not in defined}
