"""Counts of what is odd, with the first place where it was seen."""

from __future__ import annotations

from dataclasses import dataclass

from pc3d.findings import Finding, State


@dataclass
class Tally:
    """How often something was seen, among how many, and where first.

    Attributes:
        count: seen. of: looked at. first: where.
    """

    count: int = 0
    of: int = 0
    first: str = ""

    def look(self, odd: bool, where: str) -> None:
        """Look at one more."""
        self.of += 1
        if odd:
            self.see(where)

    def see(self, where: str, count: int = 1) -> None:
        """Count what is odd; `of` is left alone."""
        self.count += count
        self.first = self.first or where

    def finding(self, name: str, state: State, what: str, remedy: str) -> list[Finding]:
        """One finding, `12 of 40 WHAT, first: WHERE`; none where nothing was seen."""
        if not self.count:
            return []
        share = f"{self.count} of {self.of}" if self.of else str(self.count)
        return [Finding(name, state, f"{share} {what}, first: {self.first}", remedy)]
