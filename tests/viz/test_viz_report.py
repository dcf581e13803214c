"""The report is one file that needs nothing else."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pc3d.viz.report import (
    Figures,
    KeyNumber,
    KeyNumbers,
    Picture,
    Table,
    Text,
    environment_facts,
    write_report,
)

HOSTILE = '<script>alert("1")</script> & $title'


class Document(HTMLParser):
    """Tags, attributes and text of a page; checks that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def report(tmp_path: Path) -> str:
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    Image.new("RGB", (40, 30), (255, 0, 0)).save(tmp_path / "small.png")
    sections = [
        KeyNumbers([KeyNumber(HOSTILE, HOSTILE, HOSTILE)]),
        Text(f"First {HOSTILE}\n\nSecond", HOSTILE),
        Table(
            [HOSTILE, "mIoU", "gain"],
            [[HOSTILE, "41.2 %", "+6.3"], ["b", "3.0 ± 0.1", "-1.0"]],
            "Table",
            HOSTILE,
            frozenset([0]),
            frozenset([2]),
        ),
        Figures(
            [Picture(tmp_path / "large.png", HOSTILE), Picture(str(tmp_path / "small.png")), Picture(noise)]
        ),
    ]
    path = tmp_path / "out" / "report.html"
    write_report(path, HOSTILE, sections, subtitle=HOSTILE, command=HOSTILE, environment={HOSTILE: HOSTILE})
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_every_text_is_escaped(report: str) -> None:
    document = Document(report)
    assert not document.open
    assert "script" not in {tag for tag, _ in document.tags}
    # Title twice, subtitle, three of the card, heading, text, header, cell, caption, figure, command, fact.
    assert document.text.count(HOSTILE) == 15


def test_nothing_is_loaded_from_elsewhere(report: str) -> None:
    page = re.sub(r"base64,[A-Za-z0-9+/=]+", "", report)
    assert not re.search(r"https?://|//[a-z]|@import|url\(|<link|<iframe|<script", page)
    sources = [attributes.get("src") or "" for _, attributes in Document(report).tags if "src" in attributes]
    assert len(sources) == 3
    assert all(source.startswith("data:image/") for source in sources)
    assert not any("href" in attributes for _, attributes in Document(report).tags)


def test_pictures_are_embedded_whole(report: str) -> None:
    sources = [attributes["src"] or "" for tag, attributes in Document(report).tags if tag == "img"]
    kinds = [source.split(";")[0] for source in sources]
    assert kinds == ["data:image/jpeg", "data:image/png", "data:image/jpeg"]
    pictures = [Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) for source in sources]
    assert [picture.size for picture in pictures] == [(800, 600), (40, 30), (800, 600)]
    assert pictures[1].getpixel((5, 5)) == (255, 0, 0)


def test_numbers_are_aligned_and_gains_are_toned(report: str) -> None:
    assert '<td class="number">3.0 ± 0.1</td>' in report
    assert '<td class="number good">+6.3</td>' in report
    assert '<td class="number bad">-1.0</td>' in report
    assert report.count('<tr class="marked">') == 1


def test_a_failed_report_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, "old", [])
    with pytest.raises(FileNotFoundError):
        write_report(path, "new", [Figures([Picture(tmp_path / "missing.png")])])
    assert "<h1>old</h1>" in path.read_text()


def test_a_ragged_table_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 has 1 cells, the header 2"):
        Table(["a", "b"], [["1", "2"], ["3"]])


def test_footer_names_the_versions() -> None:
    facts = environment_facts()
    assert {"torch", "python", "date", "machine"} <= facts.keys()
