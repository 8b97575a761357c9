"""A report on packing on a terminal and as HTML, in English or Chinese: pictures in letters, tables and sentences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from rich.console import Console

from ohlol.display import texts
from ohlol.display.page import fill_placeholders
from ohlol.display.shapes_text import WIDTH, Page
from ohlol.explain.claims import Equality, Shape
from ohlol.explain.packing import PackedShapes

SMALL = 1e-12
"""Differences up to this are rounding, and are shown as 0."""


@dataclass(frozen=True)
class Table:
    """Columns and rows of text; the cells of a row are aligned to the left."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """Lines of letters, in a font of fixed width."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; a string is a sentence."""

    title: str
    parts: tuple[str | Table | Picture, ...]


def packing_to_text(report: PackedShapes, console: Console, *, lang: str = "en") -> None:
    """Print a report, at most 80 columns wide; the arguments are those of `packing_to_html`.

    >>> from ohlol.explain.shapes import shapes
    >>> packing_to_text(shapes("rnn", lengths=(2, 1)), Console(width=80, color_system=None))  # doctest: +ELLIPSIS
    RNN: sequences of unequal lengths in one batch
    ...
    """
    page = Page(console)
    page.title(_title(report, lang))
    page.sentence(_sizes(report))
    for section in describe(report, lang):
        page.heading(section.title)
        for part in section.parts:
            if isinstance(part, str):
                page.sentence(part)
            elif isinstance(part, Picture):
                page.lines(part.lines, "bold")
            else:
                page.table(part.columns, part.rows)


def packing_to_html(report: PackedShapes, *, lang: str = "en") -> str:
    """Return the content of a report as HTML.

    Args:
        report: what `ohlol.explain.shapes.shapes` returns with `lengths`.
        lang: "en" or "zh".
    """
    parts = [f"<h1>{escape(_title(report, lang))}</h1>\n<p>{escape(_sizes(report))}</p>\n"]
    for section in describe(report, lang):
        parts.append(f"<h2>{escape(section.title)}</h2>\n")
        for part in section.parts:
            if isinstance(part, str):
                parts.append(f"<p>{escape(part)}</p>\n")
            elif isinstance(part, Picture):
                parts.append(f'<pre class="picture">{escape(chr(10).join(part.lines))}</pre>\n')
            else:
                rows = [_row("th", part.columns), *(_row("td", row) for row in part.rows)]
                parts.append(f'<table class="rows">\n{"".join(rows)}</table>\n')
    return "".join(parts)


def render_page(report: PackedShapes, *, lang: str = "en") -> str:
    """Render a report as one HTML page that loads nothing; the arguments are those of `packing_to_html`."""
    values = {"LANG": lang, "TITLE": escape(_title(report, lang)), "CONTENT": packing_to_html(report, lang=lang)}
    return fill_placeholders("static.html", values)


def describe(report: PackedShapes, lang: str) -> list[Section]:
    """Return the sections of a report in a language."""

    def say(key: str, **values: object) -> str:
        return texts.text(f"packing_{key}", lang, **values)

    B, T, L, D = (report.sizes[letter] for letter in "BTLD")
    S, H = report.sizes["S"], report.sizes["H"]
    headings = [f"t={t}" for t in range(T)], list(report.names)
    rows, columns = reversed(headings) if report.uses_batch_first else headings
    padded = [("", *columns), *((name, *row) for name, row in zip(rows, report.padded, strict=True))]
    is_sorted = report.sorted_indices is None
    order = say("sorted") if is_sorted else say("unsorted", order=" ".join(report.steps[0].alive))
    indices = [
        f"{name:<18}{'None' if one is None else list(one)}"
        for name, one in (("sorted_indices", report.sorted_indices), ("unsorted_indices", report.unsorted_indices))
    ]
    steps = tuple(
        (str(s.t), f"data[{s.first}:{s.last}]", " ".join(s.steps), " ".join(s.alive), " ".join(s.ended))
        for s in report.steps
    )
    ends = tuple((e.step, *_directions(e.direction, D, lang), *_claim(e.equality)) for e in report.ends)
    direction = (say("direction"),) * (D - 1)
    finals = tuple(
        (
            *(f.sequence, str(f.length), *_directions(f.direction, D, lang)),
            *(_numbers(f.packed, H), _numbers(f.unpacked, H), _difference(f.difference)),
            _difference(f.output_difference),
        )
        for f in report.finals
    )
    final_columns = (say("sequence"), say("length"), *direction, *map(say, ("with", "not", "h_n", "output")))
    tensors = tuple((t.name, t.letters, _show(t.shape)) for t in report.tensors)
    without = [say("unpacked", steps=T)]
    if S == B * T:
        without = [say("nothing")]
    elif D == 2:
        without.append(say("unpacked_backward") + (say("unpacked_layers") if L > 1 else ""))
    else:
        without.append(say("unpacked_forward"))
    return [
        Section(say("padded"), (say("padded_how", all=B * T, padding=B * T - S), _columns(padded))),
        Section(say("sorting"), (order, Picture(tuple(indices)))),
        Section(say("packed"), (say("packed_how"), Picture(tuple(_packed(report))))),
        Section(
            say("loop"),
            (
                say("loop_how"),
                Table(("t", say("rows"), "x", say("alive"), say("ended")), steps),
                *([say("loop_backward")] if D == 2 else []),
                Table(("", "", ""), tuple((*_claim(e), _difference(e.largest_difference)) for e in report.loop)),
            ),
        ),
        Section(say("final"), (say("final_how"), Table((say("step"), *direction, "", ""), ends))),
        Section(say("without"), (*without, Table(final_columns, finals), say("differences"))),
        Section(say("tensors"), (Table((say("tensor"), say("letters"), say("shape")), tensors),)),
        Section(say("wrong"), tuple(_wrong(report, lang))),
    ]


def _title(report: PackedShapes, lang: str) -> str:
    return texts.text("packing_title", lang, module=report.module)


def _sizes(report: PackedShapes) -> str:
    return ", ".join(f"{letter} {size}" for letter, size in report.sizes.items())


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>\n"


def _columns(rows: Sequence[Sequence[str]]) -> Picture:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (" ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return Picture(tuple(line.rstrip() for line in lines))


def _packed(report: PackedShapes) -> Iterator[str]:
    """The lines of `data` with `batch_sizes` below; a line is wrapped between two time steps."""
    heads = "data", "batch_sizes"
    lines: list[tuple[str, str]] = [("", "")]
    for step, size in zip(report.steps, report.batch_sizes, strict=True):
        group = " ".join(step.steps)
        if len(heads[1] + lines[-1][0] + group) + 4 > WIDTH - 2 and lines[-1][0]:
            lines.append(("", ""))
        above, below = lines[-1]
        lines[-1] = (above + f" │ {group}", below + f" │ {size:<{len(group)}}")
    for above, below in lines:
        yield f"{heads[0]:<{len(heads[1])}}{above}"
        yield f"{heads[1]}{below}".rstrip()


def _directions(direction: str, D: int, lang: str) -> tuple[str, ...]:
    return () if D == 1 else (texts.text(direction, lang),)


def _claim(equality: Equality) -> tuple[str, str]:
    return "✓" if equality.holds else "✗", equality.claim


def _numbers(numbers: Sequence[float], size: int) -> str:
    return " ".join(f"{number:+.2f}" for number in numbers) + (" …" if size > len(numbers) else "")


def _difference(difference: float) -> str:
    return "0" if difference <= SMALL else f"{difference:.2g}"


def _show(shape: Shape) -> str:
    return str(tuple(shape))


def _wrong(report: PackedShapes, lang: str) -> Iterator[str | Picture]:
    def say(key: str, **values: object) -> str:
        return texts.text(f"packing_{key}", lang, **values)

    expected = report.tensors[1].shape
    taken, given = ("(T, B, I)", "(B, T, I)") if report.uses_batch_first else ("(B, T, I)", "(T, B, I)")
    fix = say("fix_batch_first", given=given, taken=taken, value=not report.uses_batch_first)
    for mistake, advice in ((report.wrong_batch_first, fix), (report.wrong_order, say("fix_order"))):
        if mistake is not None:
            yield Picture((mistake.call,))
            if mistake.error is not None:
                yield mistake.error
            elif mistake.result == expected:
                yield say("no_error_same")
            else:
                yield say("no_error", shape=_show(mistake.result or ()), expected=_show(expected))
            yield advice
