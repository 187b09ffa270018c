"""Changes of source text at the places where `ast` found something. What is not changed stays as it is."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import islice

_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_LINE_END = re.compile(r"[\r\n]")
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n)")
_SPACE = re.compile(r"\s*")
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
                # From Python 3.12 on, the text in an f-string is a token, too, and may be a comma.
                is_mark = token.type in {tokenize.OP, tokenize.NEWLINE}
                self._tokens.append((start, end, token.string if is_mark else "text"))

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
        return self._starts[bisect_right(self._starts, offset) - 1]

    def line_end(self, offset: int) -> int:
        """Where the line of an offset ends, without its line end."""
        found = _LINE_END.search(self.text, offset)
        return found.start() if found else len(self.text)

    def indent(self, offset: int) -> str | None:
        """What is before the first thing of a line; `None` if there is something else before the offset."""
        before = self.text[self.line_start(offset) : offset]
        return before if not before.strip() else None

    def item_end(self, start: int) -> tuple[int, int | None]:
        """Where an item of a list ends, with brackets around it, and where its comma ends if it has one."""
        index = bisect_left(self._tokens, (start, 0, ""))
        depth, end = 0, start
        for _, token_end, string in islice(self._tokens, index, None):
            # A list without brackets, as of an import, ends with its line.
            if depth == 0 and (string in {",", ";"} or string in _CLOSING or not string.strip()):
                return end, token_end if string == "," else None
            depth += (string in _OPENING) - (string in _CLOSING)
            end = token_end
        return end, None

    def without_item(self, start: int, kept: int | None) -> Edit | None:
        """Remove an item of a list. `kept` is the start of the one before it that stays."""
        end, after_comma = self.item_end(start)
        if after_comma is not None:
            rest = _REST_OF_LINE.match(self.text, after_comma)
            if rest and self.indent(start) is not None:
                return Edit(self.line_start(start), rest.end(), "")
            if not rest or kept is None:
                space = _SPACE.match(self.text, after_comma)
                return Edit(start, space.end() if space else after_comma, "")
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
    parts, done = [], 0
    for edit in merged:
        parts += [text[done : edit.start], edit.new]
        done = edit.end
    return "".join([*parts, text[done:]])
