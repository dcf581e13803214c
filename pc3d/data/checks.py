"""What was found while an index was made, beside it in `INDEX/checks.json`; no part of its fingerprint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from pc3d.findings import Finding, State
from pc3d.storage.whole import write_json

CHECKS = "checks.json"


def write_findings(index: str | Path, findings: Sequence[Finding]) -> Path:
    """Keep the findings of an index folder, in their order; the same findings give the same bytes."""
    path = Path(index) / CHECKS
    write_json(path, [asdict(finding) for finding in findings])
    return path


def read_findings(index: str | Path) -> list[Finding] | None:
    """The findings of an index folder; None where it was never checked or they cannot be read."""
    try:
        rows = json.loads((Path(index) / CHECKS).read_text(encoding="utf-8"))
        findings = [Finding(**row) for row in rows]
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    if not isinstance(rows, list):
        return None
    texts = [(finding.name, finding.text, finding.remedy) for finding in findings]
    sound = all(isinstance(text, str) for row in texts for text in row)
    return findings if sound and all(finding.state in get_args(State) for finding in findings) else None
