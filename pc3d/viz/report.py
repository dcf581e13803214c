"""A report as one HTML file: it opens offline, asks nothing of the network and runs no script."""

from __future__ import annotations

import base64
import io
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from html import escape
from importlib import metadata, resources
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.whole import clean, write_bytes

#: Pictures above this many bytes are embedded as JPEG.
_LARGEST_PNG = 300_000
_NUMBER = re.compile(
    r"[+\-\u2212±~<>≤≥]?\s?\d[\d.,]*(\s?(±\s?[\d.,]+|\([\d.,]+\)))?(\s?%|\s[a-zA-Z/²³]{1,6})?"
)


@dataclass(frozen=True)
class Text:
    """Paragraphs of plain text (separated by an empty line)."""

    body: str
    title: str = ""


@dataclass(frozen=True)
class KeyNumber:
    """One card: `value` in large type, what it is, and an optional remark (`+3.1 over scratch`)."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class KeyNumbers:
    """A row of cards."""

    numbers: Sequence[KeyNumber]
    title: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture file, or an (H, W, 3) uint8 RGB array, with its caption."""

    image: Path | str | NDArray[np.uint8]
    caption: str = ""


@dataclass(frozen=True)
class Figures:
    """Pictures in a grid of at most `columns` columns; narrow screens get fewer."""

    pictures: Sequence[Picture]
    title: str = ""
    columns: int = 2


@dataclass(frozen=True)
class Table:
    """A table; cells that read as numbers are set to the right.

    Attributes:
        header: column names.
        rows: cells, as many as the header has names.
        marked: indices of rows to bring out, e.g. the pretrained model's.
        signed: indices of columns whose sign is the message: + green, - red.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    caption: str = ""
    marked: frozenset[int] = field(default_factory=frozenset)
    signed: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ValueError(
                    f"table {self.title!r}: row {i} has {len(row)} cells, the header {len(self.header)}"
                )


Section = Text | KeyNumbers | Figures | Table


def write_report(
    path: Path | str,
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    command: str = "",
    environment: Mapping[str, str] | None = None,
) -> None:
    """Write the report, whole or not at all.

    Args:
        path: the HTML file; its folder is made.
        title, subtitle: plain text, as every text here: it is escaped.
        sections: in the order of reading.
        command: what to run to get this report again; printed in the footer.
        environment: facts for the footer (default: `environment_facts()`).
    Raises:
        FileNotFoundError: a picture is missing.
    """
    facts = environment_facts() if environment is None else environment
    template = resources.files("pc3d.viz").joinpath("report.html").read_text(encoding="utf-8")
    html = Template(template).substitute(
        title=escape(title),
        subtitle=f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else "",
        sections="\n".join(_section(section) for section in sections),
        footer=_footer(command, facts),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clean(path.parent)
    write_bytes(path, html.encode())


def environment_facts() -> dict[str, str]:
    """Versions and machine, for the footer."""
    facts = {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}
    for package in ("pc3d", "torch", "spconv-cu120", "spconv-cu126", "nuscenes-devkit", "numpy"):
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    facts["python"] = sys.version.split()[0]
    facts["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return facts


def _section(section: Section) -> str:
    heading = f"<h2>{escape(section.title)}</h2>\n" if section.title else ""
    if isinstance(section, Text):
        body = _paragraphs(section.body)
    elif isinstance(section, KeyNumbers):
        body = f'<div class="cards">{"".join(_card(n) for n in section.numbers)}</div>'
    elif isinstance(section, Figures):
        body = _figures(section)
    else:
        body = _table(section)
    return f"<section>\n{heading}{body}\n</section>"


def _paragraphs(text: str) -> str:
    return "\n".join(f"<p>{escape(part.strip())}</p>" for part in re.split(r"\n\s*\n", text) if part.strip())


def _card(number: KeyNumber) -> str:
    note = f'<div class="note">{escape(number.note)}</div>' if number.note else ""
    return (
        f'<div class="card"><div class="label">{escape(number.label)}</div>'
        f'<div class="value">{escape(number.value)}</div>{note}</div>'
    )


def _figures(section: Figures) -> str:
    # The narrowest column (px) decides how many fit into the page of 1132 px.
    narrowest = 1132 // max(section.columns, 1) - 16 * (section.columns - 1)
    items = "".join(
        f'<figure><img alt="{escape(p.caption, quote=True)}" src="{_data_uri(p.image)}">'
        + (f"<figcaption>{escape(p.caption)}</figcaption>" if p.caption else "")
        + "</figure>"
        for p in section.pictures
    )
    return f'<div class="figures" style="--narrowest: {narrowest}px">{items}</div>'


def _table(table: Table) -> str:
    rows = [[str(cell) for cell in row] for row in table.rows]
    numeric = [
        all(_NUMBER.fullmatch(row[i]) or row[i] in ("", "-") for row in rows)
        for i in range(len(table.header))
    ]
    head = "".join(
        f'<th scope="col"{_class("number" if right else "")}>{escape(str(name))}</th>'
        for name, right in zip(table.header, numeric, strict=True)
    )
    body = "".join(
        f"<tr{_class('marked' if i in table.marked else '')}>{_cells(row, numeric, table.signed)}</tr>"
        for i, row in enumerate(rows)
    )
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    content = f"{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="table"><table>{content}</table></div>'


def _cells(row: Sequence[str], numeric: Sequence[bool], signed: frozenset[int]) -> str:
    return "".join(
        f"<td{_class('number' if numeric[j] else '', _tone(cell) if j in signed else '')}>{escape(cell)}</td>"
        for j, cell in enumerate(row)
    )


def _class(*names: str) -> str:
    used = " ".join(name for name in names if name)
    return f' class="{used}"' if used else ""


def _tone(cell: str) -> str:
    return {"+": "good", "-": "bad", "\u2212": "bad"}.get(cell[:1], "")


def _footer(command: str, facts: Mapping[str, str]) -> str:
    again = f"<p>Made by</p>\n<pre>{escape(command)}</pre>\n" if command else ""
    listed = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return f"{again}<dl>{listed}</dl>"


def _data_uri(image: Path | str | NDArray[np.uint8]) -> str:
    """The picture as a `data:` URI: small PNG and JPEG files as they are, everything else as JPEG."""
    from PIL import Image

    if isinstance(image, np.ndarray):
        picture = Image.fromarray(image)
    else:
        content = Path(image).read_bytes()
        picture = Image.open(io.BytesIO(content))
        kind = (picture.format or "").lower()
        if kind == "jpeg" or (kind == "png" and len(content) <= _LARGEST_PNG):
            return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=86, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
