"""Studies small enough for a test, and made-up results of their units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from small_models import MINK

from pc3d.evaluation.evidence.description import Study
from pc3d.evaluation.evidence.execute import result_file
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import Unit
from pc3d.evaluation.evidence.read import study_of
from pc3d.storage.whole import write_json

QUICK: dict[str, Any] = {
    "data.workers": 0,
    "runtime.log_level": "WARNING",
    "lidar": {"_delete_": True, **MINK},
}


def small_study(**changes: Any) -> Study:
    """Two index worlds, random and PRC; nothing of them is read before a unit is run."""
    content: dict[str, Any] = {
        "worlds": [{"name": "a", "index": "A"}, {"name": "b", "index": "B"}],
        "seeds": [0, 1],
        "budget": {"steps": 2},
        "overrides": QUICK,
        "starts": {"random": {"random": True}, "prc": {"pretrain": "sim_prc"}},
        "probes": {"points": 20, "sweeps": [2, 2]},
        "segmentation": {"config": "sim_5_percent", "percent": [50], "steps": 1},
    }
    return study_of({**content, **changes})


def write_result(places: Places, unit: Unit, result: dict[str, Any], seconds: float = 10.0) -> Path:
    """A file as a unit leaves it."""
    places.units.mkdir(parents=True, exist_ok=True)
    made = {"cpu_seconds": seconds, "wall_seconds": seconds, "date": "2026-01-01", "machine": "one"}
    path = result_file(places, unit)
    write_json(path, {"unit": unit.describe(), "result": result, "made": made})
    return path


def probed(logistic: float, knn: float, both: float) -> dict[str, Any]:
    """The result of a probe, with both forms of batch norm alike."""
    own = {"logistic": {"miou": logistic}, "knn": {"miou": knn}}
    beside = {"logistic": {"miou": both}, "knn": {"miou": both}}
    forms = ("fixed", "estimated")
    return {"rows": {**dict.fromkeys(forms, own), **{f"{form} beside hand-made": beside for form in forms}}}


def referenced(raw: float, hand_made: float) -> dict[str, Any]:
    """The result of the references."""
    scores = {"z, intensity, range": raw, "hand-made": hand_made}
    rows = {name: {"logistic": {"miou": v}, "knn": {"miou": v}} for name, v in scores.items()}
    return {"all": {"order": list(rows), "rows": rows}}
