"""Changes of source text at the places where `ast` found something. What is not changed stays as it is."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from bisect import bisect_left
from dataclasses import dataclass, field

_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_SKIPPED = frozenset({tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT})


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace `text[start:end]`."""

    start: int
    end: int
    new: str


@dataclass(slots=True)
class Text:
    """Source text with positions."""

    text: str
    _lines: list[str] = field(init=False)
    _starts: list[int] = field(init=False)
    #: Offsets and text of the tokens.
    _tokens: list[tuple[int, int, str]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        # As Python's parser splits lines: not at form feeds.
        self._lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", self.text)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        for token in tokenize.generate_tokens(io.StringIO(self.text, newline="").readline):
            if token.type not in _SKIPPED and token.string:
                start, end = (self._starts[row - 1] + column for row, column in (token.start, token.end))
                self._tokens.append((start, end, token.string))

    @property
    def newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def offset(self, line: int, byte_column: int) -> int:
        prefix = self._lines[line - 1].encode()[:byte_column]
        return self._starts[line - 1] + len(prefix.decode())

    def span(self, node: ast.expr | ast.stmt | ast.keyword | ast.alias) -> tuple[int, int]:
        end_line, end_column = node.end_lineno, node.end_col_offset
        if end_line is None or end_column is None:
            raise ValueError("the node has no end")
        return self.offset(node.lineno, node.col_offset), self.offset(end_line, end_column)

    def source(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def line_start(self, offset: int) -> int:
        """Where the line of an offset starts."""
        return max(start for start in self._starts if start <= offset)

    def line_end(self, offset: int) -> int:
        """Where the line of an offset ends, without its line end."""
        found = re.search(r"[\r\n]|$", self.text[offset:])
        return offset + (found.start() if found else 0)

    def indent(self, offset: int) -> str | None:
        """What is before the first thing of a line; `None` if there is something else before the offset."""
        before = self.text[self.line_start(offset) : offset]
        return before if not before.strip() else None

    def item_end(self, start: int) -> tuple[int, int | None]:
        """Where an item of a list ends, with brackets around it, and where its comma ends if it has one."""
        index = bisect_left(self._tokens, (start, 0, ""))
        depth, end = 0, start
        for _, token_end, string in self._tokens[index:]:
            if depth == 0 and (string == "," or string in _CLOSING):
                return end, token_end if string == "," else None
            depth += (string in _OPENING) - (string in _CLOSING)
            end = token_end
        return end, None

    def without_item(self, start: int, kept: int | None) -> Edit | None:
        """Remove an item of a list. `kept` is the start of the one before it that stays."""
        end, after_comma = self.item_end(start)
        if after_comma is not None:
            rest = re.match(r"[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n)", self.text[after_comma:])
            if rest and self.indent(start) is not None:
                return Edit(self.line_start(start), after_comma + rest.end(), "")
            if not rest or kept is None:
                space = re.match(r"\s*", self.text[after_comma:])
                return Edit(start, after_comma + (space.end() if space else 0), "")
        if kept is None:
            return None
        before, _ = self.item_end(kept)
        return Edit(before, end, "") if "#" not in self.text[before:start] else None


def apply(text: str, edits: list[Edit]) -> str:
    """Make all changes. Only removals may overlap."""
    merged: list[Edit] = []
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if merged and edit.start < merged[-1].end:
            if edit.new or merged[-1].new:
                raise ValueError("two changes overlap")
            earlier = merged.pop()
            merged.append(Edit(earlier.start, max(earlier.end, edit.end), ""))
        else:
            merged.append(edit)
    for edit in reversed(merged):
        text = text[: edit.start] + edit.new + text[edit.end :]
    return text
