"""What a look at data, a run or a machine finds, a line each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        state: `warning` if something goes worse than it could, `problem` if something cannot work.
        text: how it is. remedy: what to do; empty where all is well.
    """

    name: str
    state: State
    text: str
    remedy: str = ""

    def line(self) -> str:
        remedy = f"; remedy: {self.remedy}" if self.remedy else ""
        return f"{self.state:<8} {self.name}: {self.text}{remedy}"


def looked_at(name: str, look: Callable[[], Finding]) -> Finding:
    """The finding of `look`; one that itself fails is a problem, not the end."""
    try:
        return look()
    except Exception as error:  # whatever a broken installation raises
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Finding(name, "problem", text, "see the installation in the README")


def report(findings: Iterable[Finding], as_json: bool = False) -> int:
    """Print findings; returns the exit code, 1 if there is a problem."""
    findings = list(findings)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            print(finding.line())
    return int(any(finding.state == "problem" for finding in findings))
