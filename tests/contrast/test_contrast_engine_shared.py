"""What every part of a contrast keeps, by the registry: a new part is taken up by itself."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from engine_cases import contrast_of, generator, unit
from engine_parts import (
    EACH_RANK,
    PARTS,
    WIDTH,
    commit,
    contrast_with,
    facts_of,
    neutral,
    rows,
    settings_of,
    small,
    warm,
)
from torch import Tensor

from pc3d.contrast.build import build_contrast
from pc3d.contrast.combine import EXCLUDE
from pc3d.contrast.comparison import FACTS
from pc3d.contrast.contrast import Contrast
from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.contrast.nce import info_nce
from pc3d.contrast.registry import SLOTS

every_part = pytest.mark.parametrize(("slot", "name"), PARTS)
CLOSE = {"atol": 1e-12, "rtol": 1e-12}
SLOT_OF = {name: slot for slot, name in PARTS}


def value(contrast: Contrast, count: int = 8, ignore: Tensor | None = None) -> Tensor:
    a, b = rows(count)
    return contrast.pair(a, b, generator(7), ignore=ignore, facts=facts_of(count)).detach()


def state_of(contrast: Contrast) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in contrast.state_dict().items()}


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=0, msg=name)


@every_part
def test_every_part_has_arguments_for_tests(slot: str, name: str) -> None:
    small(name)


@every_part
def test_neutral_arguments_are_info_nce(slot: str, name: str) -> None:
    arguments = neutral(slot, name)
    if arguments is None:
        pytest.skip("no arguments with which it changes nothing")
    contrast = warm(contrast_with(slot, name, temperature=1.0, **arguments))
    ignore = torch.rand(8, 8, generator=generator()) < 0.3
    a, b = rows(8)
    loss = contrast.pair(a, b, generator(), ignore=ignore, facts=facts_of(8))
    expected = info_nce(a, b, 1.0, ignore)
    torch.testing.assert_close(loss, expected, **CLOSE)
    for got, wanted in zip(
        torch.autograd.grad(loss, (a, b)), torch.autograd.grad(expected, (a, b)), strict=True
    ):
        torch.testing.assert_close(got, wanted, **CLOSE)


@every_part
def test_the_order_of_rows_changes_nothing(slot: str, name: str) -> None:
    contrast = warm(contrast_with(slot, name))
    (a, b), facts, order = rows(8), facts_of(8), torch.randperm(8, generator=generator())
    ignore = torch.rand(8, 8, generator=generator()) < 0.3
    before = contrast.pair(a, b, generator(7), ignore=ignore, facts=facts)
    moved = {fact: known[order] for fact, known in facts.items()}
    after = contrast.pair(a[order], b[order], generator(7), ignore=ignore[order][:, order], facts=moved)
    torch.testing.assert_close(after, before, atol=1e-10, rtol=1e-10)


@every_part
def test_the_order_of_rows_of_two_views_changes_nothing(slot: str, name: str) -> None:
    contrast = warm(contrast_with(slot, name))
    (a, b), facts, order = rows(8), facts_of(8), torch.randperm(8, generator=generator())
    before = contrast.two_way(a, b, generator(7), facts=facts)
    moved = {fact: known[order] for fact, known in facts.items()}
    after = contrast.two_way(a[order], b[order], generator(7), facts=moved)
    torch.testing.assert_close(after, before, atol=1e-10, rtol=1e-10)


@every_part
def test_blocks_of_anchors_change_nothing(slot: str, name: str) -> None:
    contrast = warm(contrast_with(slot, name))
    before = value(contrast)
    contrast.block, contrast.plain = 3, False
    torch.testing.assert_close(value(contrast), before, atol=1e-10, rtol=1e-10)


@every_part
def test_all_pairs_ignored_are_no_negatives(slot: str, name: str) -> None:
    contrast = warm(contrast_with(slot, name))
    (a, b), facts = rows(8), facts_of(8)
    ignored = contrast.pair(a, b, generator(7), torch.ones(8, 8, dtype=torch.bool), facts=facts)
    none = torch.zeros(8, 8, dtype=torch.bool)
    own = torch.arange(8)
    alone = contrast.grouped(a, b, own, none, generator(7), facts=facts, candidate_facts=facts)
    torch.testing.assert_close(ignored, alone + contrast.regularized(a, b, facts), **CLOSE)
    assert ignored.isfinite()


@every_part
def test_extra_rows_are_ordinary_negatives(slot: str, name: str) -> None:
    contrast = warm(contrast_with(slot, name))
    if contrast.wants:
        with pytest.raises(ValueError, match="gather exclude each other"):
            build_contrast(settings_of(slot, name), 0.5, WIDTH, tuple(FACTS), gather=True)
        return
    (a, b), extra, facts = rows(8), unit(5, WIDTH, 99), {"ids": facts_of(8)["ids"]}
    got = contrast.pair(a, b, generator(7), extra=extra, facts=facts)
    negative = torch.ones(8, 13, dtype=torch.bool)
    negative[:, :8].fill_diagonal_(False)
    places = torch.arange(8)
    expected = contrast.grouped(
        a, torch.cat([b, extra]), places, negative, generator(7), facts=facts, candidate_facts=facts
    )
    torch.testing.assert_close(got, expected + contrast.regularized(a, b, facts), **CLOSE)


@every_part
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("ready", [False, True])
def test_no_row_and_one_row_are_finite(slot: str, name: str, count: int, ready: bool) -> None:
    contrast = contrast_with(slot, name)
    contrast = warm(contrast) if ready else contrast
    a, b = rows(count)
    loss = contrast.pair(a, b, generator(), facts=facts_of(count))
    commit(contrast)
    assert loss.isfinite()
    loss.backward()
    for side in (a, b):
        assert side.grad.isfinite().all()
    for parameter in contrast.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in contrast.state_dict().values())


@every_part
def test_autocast_changes_nothing(slot: str, name: str) -> None:
    contrast = warm(contrast_with(slot, name)).float()
    a, b = (side.detach().float() for side in rows(8))
    facts = facts_of(8)
    plain = contrast.pair(a, b, generator(7), facts=facts)
    with torch.autocast("cpu", torch.bfloat16):
        cast = contrast.pair(a, b, generator(7), facts=facts)
    torch.testing.assert_close(cast, plain, rtol=1e-6, atol=1e-6)


@every_part
def test_state_is_saved_and_unchanged_in_evaluation(slot: str, name: str) -> None:
    contrast = warm(contrast_with(slot, name))
    state, before = state_of(contrast), value(contrast)
    same_state(state_of(contrast), state)  # changed by `commit` only
    loaded = contrast_with(slot, name)
    loaded.load_state_dict(copy.deepcopy(state))
    same_state(state_of(loaded), state)
    torch.testing.assert_close(value(loaded), before, rtol=0, atol=0)
    loaded.eval()
    warm(loaded)
    same_state(state_of(loaded), state)
    torch.testing.assert_close(value(loaded), value(loaded.train()), rtol=0, atol=0)


@every_part
def test_the_same_seed_gives_the_same_value(slot: str, name: str) -> None:
    one, other = (warm(contrast_with(slot, name)) for _ in range(2))
    same_state(state_of(one), state_of(other))
    assert torch.equal(value(one), value(other))
    assert torch.equal(value(one), value(one))


@pytest.mark.parametrize(("one", "other", "why"), EXCLUDE)
def test_parts_that_exclude_each_other(one: str, other: str, why: str) -> None:
    if not {one, other} <= set(SLOT_OF):
        pytest.skip("not registered")
    settings: dict = {}
    for name in (one, other):
        for slot, config in settings_of(SLOT_OF[name], name).items():
            settings[slot] = settings.get(slot, []) + config if isinstance(config, list) else config
    if len(settings) == 1 and not isinstance(next(iter(settings.values())), list):
        pytest.skip("two of one slot that takes one")
    with pytest.raises(ValueError, match=f"{one} and {other} exclude each other"):
        contrast_of(dim=WIDTH, facts=tuple(FACTS), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"negatives": [{"type": "Hard"}, {"type": "Mixed"}]}, "Mixed comes before Hard"),
        ({"negatives": [{"type": "Mixed"}, {"type": "Hard", "prior": 0.1}]}, "prior and Mixed exclude"),
        (
            {"positives": [{"type": "Geodesic"}], "negatives": [{"type": "Hard", "prior": 0.1}]},
            "prior and several positives exclude",
        ),
        (
            {"positives": [{"type": "Geodesic"}], "loss": {"type": "InfoNCE", "smoothing": 0.1}},
            "smoothing and several positives exclude",
        ),
        ({"negatives": [{"type": "Hard"}, {"type": "Hard"}]}, "Hard twice"),
        ({"losses": {"type": "DCL"}}, "contrast has no 'losses'"),
    ],
)
def test_settings_that_do_not_fit(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contrast_of(dim=WIDTH, facts=tuple(FACTS), **settings)


def test_every_slot_is_tested() -> None:
    assert {slot for slot, _ in PARTS} == set(SLOTS)


def steps(slot: str, name: str, half: slice) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a second step, and the state after it, of some of 8 rows."""
    contrast = contrast_with(slot, name)
    for step in range(3):
        a, b = (side.detach()[half] for side in rows(8, 20 + step))
        facts = {fact: known[half] for fact, known in facts_of(8, 20 + step).items()}
        extra = None if contrast.wants else rows_of_other_ranks(b)
        known = facts if contrast.wants else {"ids": facts["ids"]}
        loss = contrast.pair(a, b, generator(step), extra=extra, facts=known)
        commit(contrast)
    return loss.detach(), state_of(contrast)


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store, patience = f"file://{folder}/store", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=patience)
    half = slice(4 * rank, 4 * rank + 4)
    results = {name: steps(slot, name, half) for slot, name in PARTS}
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, tuple[Tensor, dict[str, Tensor]]]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(_rank, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@every_part
def test_two_ranks_are_one_with_both_halves(ranks, slot: str, name: str) -> None:
    loss, state = steps(slot, name, slice(None))
    for rank in range(2):
        found = ranks[rank][name][1]
        assert found.keys() == state.keys()
        for key, tensor in state.items():
            torch.testing.assert_close(found[key], tensor, atol=1e-10, rtol=1e-10, msg=f"{key} of {rank}")
    if name in EACH_RANK:
        pytest.skip(EACH_RANK[name])
    if contrast_with(slot, name).wants:
        pytest.skip("rows of other ranks are refused, as their facts are not known")
    torch.testing.assert_close((ranks[0][name][0] + ranks[1][name][0]) / 2, loss, atol=1e-10, rtol=1e-10)
