"""Pieces of an HTML page that needs nothing but itself: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from hyperalign_dspy.report.format import escaped
from hyperalign_dspy.report.svg import STYLE

_CSS = """
*{box-sizing:border-box}
html{color-scheme:light dark;background:var(--paper);color:var(--ink);-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:2.5rem 1.25rem 4rem;max-width:61rem;line-height:1.55;
font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
h1{font-size:1.5rem;line-height:1.3;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:3rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--rule)}
h3{font-size:1rem;margin:1.75rem 0 .25rem}
p{margin:.5rem 0;max-width:46rem}
.soft,figcaption,caption{color:var(--soft);font-size:.9rem}
.verdict{border-left:4px solid var(--c5);padding:.25rem 0 .25rem 1rem;margin:1.5rem 0}
.verdict.good{border-color:var(--c0)}
.verdict.bad{border-color:var(--c1)}
.verdict .said{font-size:1.25rem;font-weight:600;line-height:1.4}
.figures{display:flex;flex-wrap:wrap;gap:.75rem 2.5rem;margin:1.25rem 0;padding:0}
.figures dt{color:var(--soft);font-size:.85rem}
.figures dd{margin:0;font-size:1.1rem;font-variant-numeric:tabular-nums}
figure{margin:1.25rem 0}
figure svg{display:block;width:100%;height:auto;min-width:36rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.85rem;margin:1rem 0}
caption{text-align:left;padding-bottom:.5rem}
th,td{padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top}
thead th{color:var(--soft);font-weight:500;vertical-align:bottom}
tbody th{font-weight:500}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;padding:.35rem 0 .35rem .85rem}
tbody th{white-space:nowrap}
tr.strong>*{font-weight:650}
pre,code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.85rem}
pre{margin:.75rem 0;padding:.75rem 1rem;border:1px solid var(--rule);border-radius:6px;overflow-x:auto;
white-space:pre-wrap;overflow-wrap:anywhere}
.sample{margin:1.5rem 0 2rem;break-inside:avoid}
.sample h3{margin-bottom:.5rem;font-weight:600}
.texts{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:1rem 1.5rem}
.texts h4{margin:0;font-size:.85rem;font-weight:600;color:var(--soft)}
.texts .value{margin:0;font-size:.85rem;color:var(--soft);font-variant-numeric:tabular-nums}
.texts .text{margin:.35rem 0 0;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;
font-family:Georgia,'Iowan Old Style',serif;font-size:.98rem}
details{margin:1rem 0}
summary{cursor:pointer;color:var(--c0)}
footer{margin-top:3.5rem;padding-top:1rem;border-top:1px solid var(--rule);color:var(--soft);font-size:.85rem}
@media print{body{max-width:none;padding:0;font-size:10pt}h2,h3{break-after:avoid}figure,tr{break-inside:avoid}
.wide{overflow:visible}figure svg{min-width:0}}
"""
# A browser keeps a page from asking anything of anybody, whatever a text in it may hold.
_ALONE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def document(title: str, body: Sequence[str]) -> str:
    """A whole page; ``body`` is markup."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_ALONE}">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}{_CSS}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def section(heading: str, *parts: str) -> str:
    """A part of a page under its heading; ``parts`` are markup."""
    return "\n".join([f"<section>\n<h2>{escaped(heading)}</h2>", *(part for part in parts if part), "</section>"])


def paragraph(words: str, kind: str = "") -> str:
    """Words as a paragraph of a class."""
    return f'<p class="{kind}">{escaped(words)}</p>' if kind else f"<p>{escaped(words)}</p>"


def figure(drawing: str, caption: str = "") -> str:
    """A drawing and what it shows; wider than a small screen, it can be moved."""
    told = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return f'<figure>\n<div class="wide" role="group" tabindex="0">{drawing}</div>{told}</figure>'


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, strong: Sequence[int] = ()) -> str:
    """A table: the first column names its rows, and columns that hold numbers stand to the right."""
    right = [place > 0 and all(_is_number(row[place]) for row in rows) for place in range(len(header))]
    head = "".join(f'<th scope="col"{_side(at)}>{escaped(name)}</th>' for name, at in zip(header, right, strict=True))
    lines = [_line(row, right, bold=place in strong) for place, row in enumerate(rows)]
    return (
        f'<div class="wide" role="group" tabindex="0"><table>\n<caption>{escaped(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A few figures, each with its name above it."""
    inner = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="figures">{inner}</dl>'


def commands(lines: Sequence[tuple[str, str]]) -> str:
    """Commands, each after what it is for."""
    return f"<pre>{escaped(chr(10).join(f'# {why}{chr(10)}{line}' for why, line in lines))}</pre>"


def _line(row: Sequence[str], right: Sequence[bool], *, bold: bool) -> str:
    cells = [
        f'<th scope="row">{escaped(cell)}</th>' if place == 0 else f"<td{_side(right[place])}>{escaped(cell)}</td>"
        for place, cell in enumerate(row)
    ]
    return f"<tr{' class=strong' if bold else ''}>{''.join(cells)}</tr>"


def _side(right: bool) -> str:
    return ' class="n"' if right else ""


def _is_number(cell: str) -> bool:
    """Figures, figures with intervals, and what stands for a figure that is not there."""
    return (
        cell in ("", "*", "-")
        or cell.lstrip("+-").split(" ")[0].rstrip("k%").replace(",", "").replace(".", "").isdigit()
    )
