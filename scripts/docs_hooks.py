"""Hooks of the documentation site (`mkdocs.yml`).

Pages link to files of the repository outside of `docs/`, as a reader of the repository needs it. The site has
a copy of each of these files below `repository/`, and the links lead there. A Markdown file becomes a page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OUTSIDE = "repository"
#: Markdown files that the site has as pages.
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "README.md", "packages/local-sagemaker/README.md")
_LINK = re.compile(r"(\]\()(?![a-z]+:)([^)\s#]+)((?:#[^)\s]*)?\))")


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add what pages link to outside of `docs/`."""
    from mkdocs.structure.files import File

    linked = {path for file in files.documentation_pages() for path in _list_outside(Path(file.abs_src_path))}
    linked |= {ROOT / page for page in PAGES}
    linked |= {path for page in PAGES for path in _list_outside(ROOT / page)}
    for path in sorted(path for path in linked if path.is_file()):
        name = f"{OUTSIDE}/{path.relative_to(ROOT)}"
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links between the repository and `docs/` lead to the copies, and back."""
    source = Path(page.file.abs_src_path)
    here = Path(page.file.src_uri).parent

    def lead(match: re.Match[str]) -> str:
        target = (source.parent / match[2]).resolve()
        if not target.exists():
            return match[0]  # mkdocs warns of it
        site = target.relative_to(DOCS) if target.is_relative_to(DOCS) else OUTSIDE / target.relative_to(ROOT)
        if target.is_dir():
            return f"{match[1]}{match[2]}{match[3]}"
        return f"{match[1]}{os.path.relpath(site, here)}{match[3]}"

    return _outside_code(lead, markdown)


def _list_outside(page: Path) -> set[Path]:
    found: set[Path] = set()

    def note(match: re.Match[str]) -> str:
        target = (page.parent / match[2]).resolve()
        if target.is_relative_to(ROOT) and not target.is_relative_to(DOCS):
            found.add(target)
        return match[0]

    _outside_code(note, page.read_text(encoding="utf-8"))
    return found


def _outside_code(change: Any, markdown: str) -> str:
    """Apply `change` to each link that is not in a code block."""
    parts = re.split(r"(^ *```.*?^ *```)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if i % 2 else _LINK.sub(change, part) for i, part in enumerate(parts))
