"""Which objects below a checkpoint prefix belong to which checkpoint: the default, and `checkpoint_pattern`.

Pure. A pattern is a glob over the path below the prefix, or, if it begins with `^`, a regular expression.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from .errors import InvalidInput
from .parsing import is_left_out

FIELD = "checkpoint_pattern"
_WAY_OUT = (
    'give a glob over the path below CheckpointConfig.S3Uri, like "checkpoint-*" or "*.pt", or a regular '
    'expression that begins with ^, like "^step-(?P<checkpoint>\\d+)/rank-(?P<rank>\\d+)-of-(?P<ranks>\\d+)".'
)
_GROUPS = ("checkpoint", "rank", "ranks", "index")
_LONGEST = 512

#: SageMaker's own markers next to each file, and what AWS's XGBoost callback writes before it renames.
_MARKERS = re.compile(r"\.sagemaker-(uploading|uploaded|ignore)$")
#: What scripts write into the same folder, and no checkpoint consists of: logs, TensorBoard's events and
#: profiles, and files that are renamed once they are complete.
_IGNORED_FILES = re.compile(r"(tfevents|\.profile-empty$|\.log(\.|$)|\.(out|err|tmp|temp|lock)$)")
_IGNORED_FOLDERS = frozenset({"log", "logs", "runs", "tensorboard", "tb_logs", "wandb"})

#: One of several files of the same content: `model-00001-of-00004.safetensors`, `ckpt-5.data-00000-of-00002`.
_SHARD = re.compile(r"(?P<rank>\d+)-of-(?P<ranks>\d+)")
#: What a file's name has besides that of its checkpoint.
_PART_OF_NAME = re.compile(r"(\.index|[.-](data-)?\d+-of-\d+)(\.\w+)*$")


@dataclass(frozen=True, slots=True)
class Part:
    """What one object is: its checkpoint, and which of `ranks` equal parts (`set_name` names these).

    With `needs_index`, the checkpoint is complete with an object that `is_index`.
    """

    checkpoint: str
    set_name: str = ""
    rank: int | None = None
    ranks: int | None = None
    is_index: bool = False
    needs_index: bool = False


class CheckpointPattern:
    """What counts as a checkpoint.

    Without a pattern, each folder right below the prefix is a checkpoint, and so is each file there; parts
    (`...-of-00004`) belong together. Logs, TensorBoard's events and SageMaker's markers do not count.

    A glob that matches a folder (`checkpoint-*`) makes a checkpoint of all that is in it, without logs and so
    on. If it matches files (`*.pt`, `step-*/*.bin`), only these count. `*` ends at a slash, `**` does not.

    The groups of a regular expression say more: `checkpoint` (what the objects of one checkpoint have in
    common), `rank` and `ranks` (it is complete with all of them), `index` (it is complete with such an
    object).
    """

    def __init__(self, text: str = "") -> None:
        """Raises `InvalidInput`."""
        self.text = text
        self._needs_index = False
        self._glob: re.Pattern[str] | None = None
        self._regex: re.Pattern[str] | None = None
        if text.startswith("^"):
            self._regex = _regex(text)
            self._needs_index = "index" in self._regex.groupindex
        elif text:
            self._glob = _glob(text)

    @classmethod
    def of(cls, value: object) -> CheckpointPattern:
        """From an argument. Raises `InvalidInput`."""
        if is_left_out(value):
            return cls()
        if not isinstance(value, str):
            raise InvalidInput(FIELD, value, _WAY_OUT)
        return cls(value.strip())

    def part(self, key: str) -> Part | None:
        """What the object is, None if it belongs to no checkpoint. `key` is its path below the prefix."""
        if not key or key.endswith("/") or _MARKERS.search(key):
            return None
        if self._regex is not None:
            return self._of_regex(self._regex, key)
        if self._glob is not None:
            return self._of_glob(self._glob, key)
        return None if _is_ignored(key) else _default(key)

    def _of_regex(self, regex: re.Pattern[str], key: str) -> Part | None:
        found = regex.search(key)
        if found is None:
            return None
        groups = {name: text for name, text in found.groupdict().items() if text is not None}
        rank, ranks = groups.get("rank"), groups.get("ranks")
        return Part(
            checkpoint=groups.get("checkpoint") or _default(key).checkpoint,
            rank=int(rank) if rank else None,
            ranks=int(ranks) if ranks else None,
            is_index="index" in groups,
            needs_index=self._needs_index,
        )

    @staticmethod
    def _of_glob(glob: re.Pattern[str], key: str) -> Part | None:
        folders = [key[:at] for at, letter in enumerate(key) if letter == "/"]
        folder = next((name for name in folders if glob.fullmatch(name)), None)
        if folder is not None:
            return None if _is_ignored(key) else _in_folder(key, folder)
        return _default(key) if glob.fullmatch(key) else None


def _is_ignored(key: str) -> bool:
    *folders, name = key.split("/")
    return bool(_IGNORED_FILES.search(name)) or not _IGNORED_FOLDERS.isdisjoint(folders)


def _default(key: str) -> Part:
    folder, slash, _ = key.partition("/")
    return _in_folder(key, folder) if slash else _in_folder(key, _PART_OF_NAME.sub("", key) or key)


def _in_folder(key: str, checkpoint: str) -> Part:
    shard = _SHARD.search(key)
    if shard is None:
        return Part(checkpoint=checkpoint)
    set_name = f"{key[: shard.start('rank')]}*{key[shard.end('rank') :]}"
    return Part(checkpoint=checkpoint, set_name=set_name, rank=int(shard["rank"]), ranks=int(shard["ranks"]))


def _regex(text: str) -> re.Pattern[str]:
    try:
        regex = re.compile(text)
    except re.error as error:
        raise InvalidInput(FIELD, text, f"it is no regular expression ({error}): {_WAY_OUT}") from None
    _check_length(text)
    if unknown := [name for name in regex.groupindex if name not in _GROUPS]:
        raise InvalidInput(FIELD, text, f"the group {unknown[0]} is not known: use {', '.join(_GROUPS)}.")
    for name in ("rank", "ranks"):
        if name in regex.groupindex and not re.search(rf"\(\?P<{name}>(\\d|\[0-9\])[+*{{\d,}}]*\)", text):
            raise InvalidInput(FIELD, text, f"the group {name} has to match digits only: (?P<{name}>\\d+).")
    if "ranks" in regex.groupindex and "rank" not in regex.groupindex:
        raise InvalidInput(
            FIELD, text, "ranks says how many there are: add the group rank, which says which."
        )
    return regex


def _glob(text: str) -> re.Pattern[str]:
    _check_length(text)
    if text.startswith(("/", "s3:", "./")) or "//" in text or not text.isprintable():
        raise InvalidInput(FIELD, text, f"it is no path below the prefix: {_WAY_OUT}")
    try:
        return _compiled(text.rstrip("/"))
    except (re.error, ValueError) as error:
        raise InvalidInput(FIELD, text, f"it is no glob ({error}): {_WAY_OUT}") from None


def _check_length(text: str) -> None:
    if len(text) > _LONGEST:
        raise InvalidInput(FIELD, f"{text[:40]}...", f"give at most {_LONGEST} characters.")


_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[(!?)(\]?[^\]/]*)\]|[^*?\[]|(?P<bad>\[)")


@lru_cache
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile("".join(map(_token, _TOKENS.finditer(glob))))


def _token(found: re.Match[str]) -> str:
    match token := found[0]:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
        case "[":
            raise ValueError("a [ without a ]")
        case _ if found[2] is not None:
            inside = (
                found[2].replace("\\", "\\\\").replace("^", "\\^").replace("]", "\\]").replace("[", "\\[")
            )
            return f"(?!/)[{'^' if found[1] else ''}{inside}]"
        case _:
            return re.escape(token)
