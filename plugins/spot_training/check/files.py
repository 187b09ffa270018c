"""The files to check: those that Airflow would load below a path, and how they are read and written."""

from __future__ import annotations

import ast
import io
import os
import re
import tempfile
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .classes import WORDS, Source, subclasses_of

_IGNORE_FILE = ".airflowignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file that was not checked, and why."""

    path: Path
    line: int
    reason: str


@dataclass(slots=True)
class Found:
    """What is below the paths."""

    #: All Python files, also those in which nothing trains.
    paths: list[Path] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    not_parsed: list[Problem] = field(default_factory=list)
    #: Packed Dags, which Airflow loads and this command does not look into.
    packed: list[Path] = field(default_factory=list)
    #: What `.airflowignore` names.
    ignored: list[Path] = field(default_factory=list)


def find(paths: list[Path], *, ignore_syntax: str) -> Found:
    """Read and parse every file that may have a training task."""
    found = Found()
    for path in paths:
        if path.is_dir():
            for file in sorted(_walk(path, [], ignore_syntax, found.ignored)):
                _sort_in(file, found)
        else:
            _sort_in(path, found)
    found.paths = list(dict.fromkeys(found.paths))
    _parse(found)
    return found


def _sort_in(path: Path, found: Found) -> None:
    if path.suffix == ".py":
        found.paths.append(path)
    elif path.suffix == ".zip":
        found.packed.append(path)


# .airflowignore ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """One line of an ignore file, as Airflow reads it: the last line that matches decides."""

    pattern: re.Pattern[str]
    folder: Path
    is_exclusion: bool = True
    only_folders: bool = False
    only_names: bool = False

    def matches(self, path: Path, *, is_folder: bool) -> bool:
        if self.only_folders and not is_folder:
            return False
        name = path.name if self.only_names else path.relative_to(self.folder).as_posix()
        return self.pattern.search(f"{name}/" if is_folder else name) is not None


def _walk(folder: Path, rules: list[_Rule], syntax: str, ignored: list[Path]) -> Iterator[Path]:
    rules = [*rules, *_rules_of(folder, syntax)]
    for path in sorted(folder.iterdir()):
        is_folder = path.is_dir()
        if is_folder and (
            path.name.startswith(".") or path.name == "__pycache__" or (path / "pyvenv.cfg").exists()
        ):
            continue
        if _is_ignored(path, rules, is_folder=is_folder):
            ignored.append(path)
        elif not is_folder:
            yield path
        elif not path.is_symlink() or path.resolve() not in folder.resolve().parents:
            yield from _walk(path, rules, syntax, ignored)


def _is_ignored(path: Path, rules: list[_Rule], *, is_folder: bool) -> bool:
    ignored = False
    for rule in rules:
        if rule.matches(path, is_folder=is_folder):
            ignored = rule.is_exclusion
    return ignored


def _rules_of(folder: Path, syntax: str) -> Iterator[_Rule]:
    file = folder / _IGNORE_FILE
    if not file.is_file():
        return
    for line in file.read_text(errors="replace").splitlines():
        text = re.sub(r"\s*#.*", "", line).strip()
        if not text or text == "/":
            continue
        if syntax == "regexp":
            try:
                yield _Rule(re.compile(text), folder)
            except re.error:
                continue
        else:
            yield _glob_rule(text, folder)


def _glob_rule(text: str, folder: Path) -> _Rule:
    pattern = text.removeprefix("!")
    return _Rule(
        re.compile(_as_regexp(pattern.strip("/"))),
        folder,
        is_exclusion=pattern == text,
        only_folders=pattern.endswith("/"),
        only_names="/" not in pattern.rstrip("/"),
    )


def _as_regexp(pattern: str) -> str:
    """A pattern of gitignore as a regular expression: `*`, `?`, `[...]` and `**` between slashes."""
    parts = []
    index = 0
    while index < len(pattern):
        if pattern.startswith("**/", index):
            parts.append("(?:.*/)?")
            index += 3
        elif pattern.startswith("**", index):
            parts.append(".*")
            index += 2
        elif pattern[index] == "[" and (end := pattern.find("]", index + 2)) > 0:
            inside = pattern[index + 1 : end].replace("\\", "\\\\")
            parts.append(f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]")
            index = end + 1
        else:
            character = pattern[index]
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character)))
            index += 1
    return f"^{''.join(parts)}(?:/|$)"


# Reading and writing -------------------------------------------------------------------------------------


def _parse(found: Found) -> None:
    """Parse the files with a word of SageMaker in them, and those that use a class that these define."""
    raw: dict[Path, bytes] = {}
    for path in found.paths:
        try:
            raw[path] = path.read_bytes()
        except OSError as error:
            found.not_parsed.append(Problem(path=path, line=1, reason=error.strerror or str(error)))
    words = {word.encode() for word in WORDS}
    while words:
        for path in [path for path, content in raw.items() if any(word in content.lower() for word in words)]:
            _parse_one(path, raw.pop(path), found)
        words = {name.lower().encode() for _, name in subclasses_of(found.sources)}
        words = {word for word in words if any(word in content.lower() for content in raw.values())}
    found.sources.sort(key=lambda source: source.path)


def _parse_one(path: Path, content: bytes, found: Found) -> None:
    try:
        encoding, text = _decode(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except SyntaxError as error:
        problem = Problem(path=path, line=error.lineno or 1, reason=f"syntax error: {error.msg}")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem(path=path, line=line, reason=f"is not {error.encoding} text")
    except (ValueError, RecursionError, MemoryError) as error:
        problem = Problem(path=path, line=1, reason=f"cannot be parsed: {error}")
    else:
        found.sources.append(Source.of(path, text, encoding, tree))
        return
    found.not_parsed.append(problem)


def _decode(content: bytes) -> tuple[str, str]:
    """The encoding of a file and its text."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    except SyntaxError:
        content.decode()  # says where it is not UTF-8
        raise
    return encoding, content.decode(encoding)


def write(path: Path, text: str, encoding: str) -> None:
    """Replace a file in one step, with its encoding, line ends and permissions."""
    target = path.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode(encoding))
        Path(name).chmod(target.stat().st_mode & 0o7777)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
