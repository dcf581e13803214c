"""What was found, for a person and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pc3d.findings import Finding
from pc3d.storage.whole import write_json

_ORDER = ("problem", "warning", "ok")


@dataclass(frozen=True)
class Verification:
    """The result of `verify_index`.

    Attributes:
        index: its folder. root: of the data set. fingerprint: of the index.
        sweeps: whose poses, times and boxes were looked at. opened: whose files were opened. files: opened.
        seconds: that it took.
        findings: problems first. places: the first places of a finding, by its name.
    """

    index: str
    root: str
    fingerprint: str
    sweeps: int
    opened: int
    files: int
    seconds: float
    findings: tuple[Finding, ...]
    places: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ordered = sorted(self.findings, key=lambda finding: _ORDER.index(finding.state))
        object.__setattr__(self, "findings", tuple(ordered))

    @property
    def problems(self) -> int:
        return sum(finding.state == "problem" for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0, or 1 where there is a problem; warnings are none."""
        return int(self.problems > 0)

    def text(self, verbose: bool = False) -> str:
        """Lines for a person: what is odd (`verbose`: also what is not, and more places), then a summary."""
        lines = []
        for finding in self.findings:
            if verbose or finding.state != "ok":
                lines.append(finding.line())
                if verbose:
                    lines += [f"           {place}" for place in self.places.get(finding.name, [])[1:]]
        return "\n".join([*lines, self.summary()])

    def summary(self) -> str:
        counts = Counter(finding.state for finding in self.findings)
        said = ", ".join(
            f"{counts[state]} {state}{'s' * (counts[state] != 1)}" for state in ("problem", "warning")
        )
        return (
            f"{self.index}: {self.sweeps} sweeps, {self.files} files of {self.opened} sweeps opened in "
            f"{self.seconds:.0f} s: {said}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `verdict` is the worst state of all findings."""
        states = {finding.state for finding in self.findings}
        verdict = next((state for state in _ORDER if state in states), "ok")
        findings = [asdict(one) | {"places": self.places.get(one.name, [])} for one in self.findings]
        facts = {key: value for key, value in asdict(self).items() if key not in ("findings", "places")}
        return {"verdict": verdict, **facts, "findings": findings}


def write_verification(path: str | Path, result: Verification) -> None:
    """Write the result as JSON, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result.to_dict())
