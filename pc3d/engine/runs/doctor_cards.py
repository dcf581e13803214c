"""Which GPUs are known to fit: compute capabilities against the code that torch and spconv carry."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pc3d.findings import Finding

SPCONV_CODE = (
    *("sm_50", "sm_52", "sm_60", "sm_61", "sm_70", "sm_75", "sm_80", "sm_86", "sm_89", "sm_90"),
    "compute_90",
)
"""What the libraries of spconv-cu120 2.3.6 and spconv-cu126 2.3.8 hold: read from their fat binaries."""
_REMEDY = "not known to fit: the look at spconv computes on it; a PointPillars needs no spconv"

Capability = tuple[int, int]


def fit(capability: Capability, code: Sequence[str]) -> str:
    """Whether a card runs compiled code.

    Args:
        capability: major and minor number of its compute capability.
        code: `sm_80` for machine code, which runs on cards of the same major and an equal or higher minor
            number; `compute_90` for PTX, which the driver compiles for later cards.

    Returns:
        `code`, `ptx` or `no`.
    """
    parsed = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", name) for name in code]
    known = [(found[1], (int(found[2]), int(found[3]))) for found in parsed if found]
    if any(kind == "sm" and capability >= of and capability[0] == of[0] for kind, of in known):
        return "code"
    return "ptx" if any(kind == "compute" and capability >= of for kind, of in known) else "no"


def check_cards(cards: Sequence[tuple[str, float, Capability]], torch_code: Sequence[str]) -> Finding:
    """What is said of the cards that torch sees.

    Args:
        cards: name, gigabytes and compute capability of each.
        torch_code: what torch was compiled for, `torch.cuda.get_arch_list()`.
    """
    shown = ", ".join(f"{name} ({memory:.0f} GB, {major}.{minor})" for name, memory, (major, minor) in cards)
    for name, _, capability in cards:
        for what, code in (("torch", torch_code), ("spconv", SPCONV_CODE)):
            fits, number = fit(capability, code), ".".join(map(str, capability))
            if fits == "no":
                text = f"{shown}: {what} has no code for {name}, of compute capability {number}"
                remedy = "use another card, or CUDA_VISIBLE_DEVICES= to compute on the CPU"
                return Finding("GPU", "problem", text, remedy)
            if fits == "ptx":
                text = f"{shown}: {what} knows no card as new as {name}; the driver compiles its code"
                return Finding("GPU", "warning", text, _REMEDY)
    return Finding("GPU", "ok", f"{shown}; torch and spconv have code for them")
