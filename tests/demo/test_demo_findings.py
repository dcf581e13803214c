"""The demo's sentences say what its numbers say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pc3d.demo.findings import BESIDE, findings, key_numbers, probe_table, tuning_table
from pc3d.demo.world import PRETRAINED, WorldResult
from pc3d.evaluation.label_efficiency import RANDOM
from pc3d.evaluation.protocol.references import HAND_MADE
from pc3d.evaluation.protocol.references import RANDOM as RANDOM_NETWORK


def world(number: int, hand: float, net: float, both: float, tuned: tuple[float, float]) -> WorldResult:
    def row(score: float) -> dict:
        of = {"miou": score / 100}
        return {"columns": 3, "logistic": {**of, "fit": {"converged": True}}, "knn": of}

    scores = {
        HAND_MADE: hand,
        RANDOM_NETWORK: 5.0,
        PRETRAINED: net,
        f"{HAND_MADE} beside {RANDOM_NETWORK}": 20.0,
        BESIDE: both,
    }
    block = {"order": list(scores), "rows": {k: row(v) for k, v in scores.items()}}
    return WorldResult(
        number=number,
        probes={"all": {**block, "train_points": 1000, "val_points": 500}},
        tuned={RANDOM: {"miou": tuned[0] / 100}, PRETRAINED: {"miou": tuned[1] / 100}},
        frames=(6, 48),
        steps=(400, 150),
        seed=0,
        run=Path("run"),
        random=Path("random"),
        segmenters={},
    )


def test_a_network_below_the_hand_made_features_is_said_to_be() -> None:
    text = findings([world(5, 25, 20, 30, (20, 26)), world(6, 24, 19, 23, (22, 21))])
    probes, beside, tuned, limits = text.split("\n\n")
    assert "is above the hand-made features in neither world" in probes
    assert "20.0 and 19.0 against 25.0 and 24.0: -5.0 and -5.0" in probes
    assert "+15.0 and +14.0" in probes, "against the untrained network"
    assert "adds to them in one of two worlds: +5.0 and -1.0" in beside
    assert "one of two worlds: from 20.0 to 26.0 % in world 5 (+6.0) and from 22.0 to 21.0 %" in tuned
    assert "6 labelled frames of 48" in tuned
    assert "includes zero" in limits


def test_a_network_above_them_is_said_to_be() -> None:
    probes, _, tuned, limits = findings(
        [world(5, 25, 28, 30, (20, 30.0)), world(6, 24, 29, 33, (22, 32.1))]
    ).split("\n\n")
    assert "is above the hand-made features in both worlds" in probes
    assert "does not beat" not in probes
    assert "is above the random one in both worlds" in tuned
    assert "leaves zero out" in limits


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.floats(1, 90).map(lambda x: round(x, 1))] * 4), min_size=2, max_size=4))
def test_counts_and_interval_are_those_of_the_numbers(values: list[tuple[float, ...]]) -> None:
    worlds = [world(n, hand, net, 30, (a, b)) for n, (hand, net, a, b) in enumerate(values)]
    probes, _, tuned, limits = findings(worlds).split("\n\n")
    for text, pairs in ((probes, [v[:2] for v in values]), (tuned, [v[2:] for v in values])):
        above = sum(100 * (b / 100) > 100 * (a / 100) for a, b in pairs)
        words = {0: "neither world|none of", len(values): "both worlds|all "}
        expected = words.get(above, f"{('none', 'one', 'two', 'three')[min(above, 3)]} of ")
        assert re.search(f" in ({expected})", text), text
    gains = [b - a for *_, a, b in values]
    low, high = stats.t.interval(0.95, len(gains) - 1, sum(gains) / len(gains), stats.sem(gains) or 1e-12)
    found = [float(x) for x in re.search(r"goes from (\S+) to ([^,]+),", limits).groups()]  # type: ignore[union-attr]
    assert found == pytest.approx([low, high], abs=0.06)


def test_one_world_has_no_interval() -> None:
    text = findings([world(5, 25, 28, 30, (20, 30))])
    assert "one world has no interval at all" in text
    assert "one small world with one seed" in text
    assert "in this world" in text


def test_the_tables_hold_every_row_and_both_worlds() -> None:
    worlds = [world(5, 25, 20, 30, (20, 26)), world(6, 24, 19, 23, (22, 21))]
    table = probe_table(worlds)
    assert [row[0] for row in table.rows] == worlds[0].probes["all"]["order"]
    assert table.rows[0][2:] == ["25.0", "25.0", "24.0", "24.0"]
    assert [row[-1] for row in tuning_table(worlds).rows] == ["+6.0", "-1.0"]
    assert [card.value for card in key_numbers(worlds)] == ["+6.0", "-1.0", "20.0 %", "19.0 %"]


def test_a_regression_that_did_not_converge_is_named() -> None:
    worlds = [world(5, 25, 20, 30, (20, 26))]
    worlds[0].probes["all"]["rows"][HAND_MADE]["logistic"]["fit"]["converged"] = False
    assert f"did not converge for {HAND_MADE} in world 5" in probe_table(worlds).caption
