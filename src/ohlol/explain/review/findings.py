"""The findings of a review, as plain data."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohlol.explain.review.check import CHECKS
from ohlol.explain.review.program import Program, read_program, too_deep
from ohlol.utils.translation import translate

PAGES = {"en": "docs/review.md", "zh": "docs/review.zh.md"}
"""The page with a section for each check, by language."""


@dataclass(frozen=True, order=True)
class Finding:
    """One mistake in a program.

    Attributes:
        file: the program.
        line: its line, from 1.
        column: its column, from 1.
        check: the name of the check, which is the heading in the page.
        code: the line of the program.
        why: why it is wrong, in English.
        instead: the line that fixes it.
        detail: what was seen in a run of the program, in the user's language.
    """

    file: str
    line: int
    column: int
    check: str
    code: str
    why: str
    instead: str
    detail: str = ""

    def page(self, lang: str) -> str:
        """The section of the documentation in a language."""
        return f"{PAGES[lang]}#{self.check}"

    def message(self, lang: str) -> str:
        """Why it is wrong, in a language."""
        space = " " if self.detail.isascii() and self.detail else ""
        return translate(self.why, lang=lang) + space + self.detail

    def to_json(self, lang: str) -> dict[str, Any]:
        """The finding as JSON, with its text in one language."""
        return {
            "file": self.file, "line": self.line, "column": self.column, "check": self.check, "code": self.code,
            "message": self.message(lang), "instead": self.instead, "page": self.page(lang),
        }  # fmt: skip


def review(path: Path | str) -> list[Finding]:
    """Look for common mistakes in a program; it is not run.

    Args:
        path: a Python file.

    Returns:
        The findings by line.

    Raises:
        InputError: the file is no Python program.
        OSError: it cannot be read.
    """
    return review_program(read_program(Path(path)))


def review_program(program: Program) -> list[Finding]:
    """The findings of all checks, by line; one line has a check once.

    Raises:
        InputError: the program is nested too deeply.
    """
    findings = (
        Finding(
            program.name,
            getattr(node, "lineno", 1),
            len(program.lines[getattr(node, "lineno", 1) - 1].encode()[: getattr(node, "col_offset", 0)].decode()) + 1,
            check.name,
            program.line(node),
            check.why,
            instead,
        )
        for check in CHECKS.values()
        for node, instead in check.find(program)
    )
    try:
        return sorted(_first_of_line(findings))
    except RecursionError:  # in ast.unparse
        raise too_deep(program.name) from None


def _first_of_line(findings: Iterable[Finding]) -> list[Finding]:
    seen: dict[tuple[int, str], Finding] = {}
    for finding in findings:
        seen.setdefault((finding.line, finding.check), finding)
    return list(seen.values())
