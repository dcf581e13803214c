"""SuperFlow: its terms against plain loops over ids, and what each option changes."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import IMAGE, TinyImage, TinyLidar, make_batch
from torch import Tensor

from pc3d.data.batch import Batch
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import group_facts
from pc3d.objectives.superflow import SuperFlow

TAU = 0.07
Means = dict[tuple[int, int], Tensor]


def build(batch: Batch, seed: int = 0, **options) -> tuple[SuperFlow, Encodings]:
    torch.manual_seed(seed)
    lidar, image = TinyLidar(), TinyImage()
    return SuperFlow(lidar, image, dim=4, **options), Encodings(batch, lidar, image)


def plain_means(
    objective: SuperFlow, encodings: Encodings, name: str, movers: bool = True
) -> tuple[Means, Means]:
    """Mean point and pixel features by (sample, class), of classes with a point."""
    frame = encodings.batch.frames[name]
    points = F.normalize(objective.heads.point_head(encodings.lidar("a", name).points), dim=1)
    maps = objective.heads.pixel_head(encodings.image(name))
    maps = F.normalize(F.interpolate(maps, size=IMAGE, mode="bilinear", align_corners=False), dim=1)
    of_points, of_pixels = defaultdict(list), defaultdict(list)
    for row, camera, (u, v) in zip(frame.pairs.row, frame.pairs.camera, frame.pairs.uv, strict=True):
        sample = int(camera) // 2
        kind = int(frame.semantics[sample, int(camera) % 2, int(v), int(u)])
        if kind >= 0 and (movers or not frame.moving[row]):
            of_points[sample, kind].append(points[row])
    for sample in range(2):
        for camera in range(2):
            for v in range(IMAGE[0]):
                for u in range(IMAGE[1]):
                    kind = int(frame.semantics[sample, camera, v, u])
                    of_pixels[sample, kind].append(maps[sample * 2 + camera, :, v, u])
    q = {key: torch.stack(values).mean(dim=0) for key, values in of_points.items()}
    k = {key: torch.stack(of_pixels[key]).mean(dim=0) for key in q}
    return q, k


def plain_nce(a: Means, b: Means, same_class_is_negative: bool = True) -> Tensor:
    keys = [key for key in a if key in b]
    terms = []
    for i in keys:
        others = [j for j in keys if j == i or same_class_is_negative or j[1] != i[1]]
        total = sum((a[i] @ b[j] / TAU).exp() for j in others)
        terms.append(-((a[i] @ b[i] / TAU).exp() / total).log())
    return sum(terms) / len(terms)


def test_superflow_is_its_four_terms_with_gradients() -> None:
    batch = make_batch(segments=4)
    objective, encodings = build(batch)
    result = objective(encodings)
    assert set(encodings.passes.values()) == {1}
    assert len(encodings.passes) == 4 + 3  # four clouds, three times of images
    (q, k), (q_before, k_before), (q_after, k_after), (q_dense, _) = (
        plain_means(objective, encodings, name) for name in ("t", "t-1", "t+1", "dense")
    )
    expected = {
        "spatial": (plain_nce(q, k) + plain_nce(q_before, k_before) + plain_nce(q_after, k_after)) / 3,
        "d2s": plain_nce(q, q_dense),
        "temporal": (plain_nce(q, q_before) + plain_nce(q, q_after)) / 2,
        "cross": (plain_nce(q, k_before) + plain_nce(q, k_after)) / 2,
    }
    for name, value in expected.items():
        torch.testing.assert_close(result[name], value.detach(), rtol=1e-4, atol=1e-4)
    parameters = list(objective.parameters())
    got = torch.autograd.grad(result["loss"], parameters, retain_graph=True)
    wanted = torch.autograd.grad(sum(expected.values()), parameters)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_weights_scale_their_terms_and_zero_leaves_them_out() -> None:
    batch = make_batch()
    objective, encodings = build(batch, spatial=0.5, temporal=2.0, cross=0.0, d2s=0.0)
    result = objective(encodings)
    torch.testing.assert_close(result["loss"].detach(), 0.5 * result["spatial"] + 2 * result["temporal"])
    assert "cross" not in result
    assert "d2s" not in result
    assert SuperFlow.needs_of({"d2s": 0.0}).frames == ("t", "t-1", "t+1")


def test_the_papers_form_of_d2s_is_one_minus_the_cosine() -> None:
    batch = make_batch()
    objective, encodings = build(batch, d2s_form="cosine")
    q, _ = plain_means(objective, encodings, "t")
    dense, _ = plain_means(objective, encodings, "dense")
    shared = [key for key in q if key in dense]
    expected = sum(1 - q[key] @ dense[key] / (q[key].norm() * dense[key].norm()) for key in shared) / len(
        shared
    )
    torch.testing.assert_close(objective(encodings)["d2s"], expected.detach(), rtol=1e-4, atol=1e-4)


def test_the_same_class_in_another_sample_may_be_no_negative() -> None:
    batch = make_batch(segments=3)
    objective, encodings = build(batch, mask_same_class=True)
    (q, k), (q_before, k_before), (q_after, k_after) = (
        plain_means(objective, encodings, name) for name in ("t", "t-1", "t+1")
    )
    pairs = ((q, k), (q_before, k_before), (q_after, k_after))
    expected = sum(plain_nce(a, b, same_class_is_negative=False) for a, b in pairs) / 3
    torch.testing.assert_close(objective(encodings)["spatial"], expected.detach(), rtol=1e-4, atol=1e-4)


def test_movers_may_be_left_out_of_what_crosses_time() -> None:
    batch = make_batch()
    batch.frames["t-1"].moving = batch.frames["dense"].moving = None
    objective, encodings = build(batch, mask_movers=True)
    result = objective(encodings)
    q, _ = plain_means(objective, encodings, "t", movers=False)
    q_after, _ = plain_means(objective, encodings, "t+1", movers=False)
    q_before, k_before = plain_means(objective, encodings, "t-1")
    _, k_after = plain_means(objective, encodings, "t+1")
    temporal = (plain_nce(q, q_before) + plain_nce(q, q_after)) / 2
    cross = (plain_nce(q, k_before) + plain_nce(q, k_after)) / 2
    torch.testing.assert_close(result["temporal"], temporal.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(result["cross"], cross.detach(), rtol=1e-4, atol=1e-4)
    assert SuperFlow.needs_of({"mask_movers": True}).tracks


def test_ids_of_superpixels_have_no_meaning_at_another_time() -> None:
    with pytest.raises(ValueError, match="mean nothing at another time"):
        SuperFlow(TinyLidar(), TinyImage(), ids="superpixels")
    batch = make_batch()
    lidar, image = TinyLidar(), TinyImage()
    objective = SuperFlow(lidar, image, ids="superpixels", temporal=0.0, cross=0.0)
    result = objective(Encodings(batch, lidar, image))
    # By image, not by sample: more groups than there are (sample, id) pairs.
    assert int(result["groups"]) > 2 * 5
    assert SuperFlow.needs_of({"ids": "superpixels"}).superpixels
    with pytest.raises(ValueError, match="unknown ids"):
        SuperFlow(lidar, image, ids="slic")
    with pytest.raises(ValueError, match="set gather=False"):
        SuperFlow(lidar, image, gather=True, mask_same_class=True)
    with pytest.raises(ValueError, match="unknown d2s_form"):
        SuperFlow(lidar, image, d2s_form="l2")


def test_rows_of_other_processes_are_more_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """What two processes exchange is tested with the losses; here the rows come from nowhere."""
    other = F.normalize(torch.randn(7, 4), dim=1)
    monkeypatch.setattr("pc3d.objectives.superflow.rows_of_other_ranks", lambda features: other)
    batch = make_batch()
    objective, encodings = build(batch, gather=True)
    terms = []
    for name in ("t", "t-1", "t+1"):
        q, k = plain_means(objective, encodings, name)
        total = [sum((q[i] @ x / TAU).exp() for x in (*k.values(), *other)) for i in q]
        logs = [((q[i] @ k[i] / TAU).exp() / t).log() for i, t in zip(q, total, strict=True)]
        terms.append(-sum(logs) / len(logs))
    expected = sum(terms) / 3
    torch.testing.assert_close(objective(encodings)["spatial"], expected.detach(), rtol=1e-4, atol=1e-4)


def test_renormalised_means_have_unit_length() -> None:
    """The logits then stay within 1 / tau, so the loss stays below log G + 2 / tau and differs."""
    batch = make_batch()
    plain, encodings = build(batch)
    renormalised, _ = build(batch, renormalise=True)
    groups = renormalised.heads.groups(encodings, "t")
    norms = renormalised.heads.superpoints(encodings, "t", groups).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    assert not math.isclose(
        float(plain(encodings)["loss"].detach()), float(renormalised(encodings)["loss"].detach())
    )


def test_the_ends_of_a_scene_pair_a_frame_with_itself() -> None:
    batch = make_batch()
    batch.frames["t-1"] = batch.frames["t+1"] = batch.frames["dense"] = batch.now
    objective, encodings = build(batch)
    result = objective(encodings)
    torch.testing.assert_close(result["cross"], result["spatial"])
    assert torch.isfinite(result["loss"])


def test_one_group_only_is_a_loss_of_zero() -> None:
    batch = make_batch(size=1)
    for frame in batch.frames.values():
        frame.semantics = torch.zeros_like(frame.semantics)
    objective, encodings = build(batch)
    loss = objective(encodings)["loss"]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)


def plain_dcl(a: Means, b: Means) -> Tensor:
    keys = [key for key in a if key in b]
    terms = [torch.stack([a[i] @ b[j] / TAU for j in keys if j != i]).exp().sum().log() for i in keys]
    return sum(t - a[i] @ b[i] / TAU for t, i in zip(terms, keys, strict=True)) / len(keys)


def test_each_term_by_another_contrast() -> None:
    batch = make_batch(segments=4)
    objective, encodings = build(batch, contrast={"loss": {"type": "DCL"}})
    result = objective(encodings)
    (q, k), (q_before, k_before), (q_after, k_after), (q_dense, _) = (
        plain_means(objective, encodings, name) for name in ("t", "t-1", "t+1", "dense")
    )
    expected = {
        "spatial": (plain_dcl(q, k) + plain_dcl(q_before, k_before) + plain_dcl(q_after, k_after)) / 3,
        "d2s": plain_dcl(q, q_dense),
        "temporal": (plain_dcl(q, q_before) + plain_dcl(q, q_after)) / 2,
        "cross": (plain_dcl(q, k_before) + plain_dcl(q, k_after)) / 2,
    }
    for name, value in expected.items():
        torch.testing.assert_close(result[name], value.detach(), rtol=1e-4, atol=1e-4)


def test_each_term_has_a_contrast_of_its_own() -> None:
    learned = {"similarity": {"type": "Learned"}}
    objective, encodings = build(make_batch(), contrast=learned, spatial=0.0, cross=0.0)
    assert set(objective.contrasts) == {"d2s", "temporal"}
    result = objective(encodings)
    assert {"d2s_temperature", "temporal_temperature"} == {key for key in result if "temperature" in key}
    result["loss"].backward()
    gradients = [objective.contrasts.of(name).similarity.scale.grad for name in objective.contrasts]
    assert gradients[0] != gradients[1]
    cosine, encodings = build(make_batch(), contrast=learned, d2s_form="cosine")
    assert set(cosine.contrasts) == {"spatial", "temporal", "cross"}
    assert not build(make_batch())[0].contrasts.state_dict()


def test_facts_of_groups_of_another_time_are_seen_from_the_key_frame() -> None:
    batch = make_batch()
    world = batch.frames["t-1"].world_SE3_lidar.clone()
    world[:, :2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    world[:, 0, 3] = torch.tensor([3.0, -5.0])
    batch.frames["t-1"].world_SE3_lidar = world
    objective, encodings = build(batch)
    groups = objective.heads.groups(encodings, "t-1")
    own = group_facts(encodings, groups, "semantics", "t-1")
    moved = group_facts(encodings, groups, "semantics", "t-1", "t")
    points = batch.frames["t-1"].views["a"].points[:, :3]
    for n, (sample, label) in enumerate(zip(own["sample"], own["labels"], strict=True)):
        assert groups.ids[n] == own["ids"][n] == sample * 2**15 + label
        mean = points[groups.rows[groups.pair_group == n]].mean(dim=0)
        torch.testing.assert_close(own["xyz"][n], mean)
        turned = torch.stack([-mean[1] + (3.0, -5.0)[int(sample)], mean[0], mean[2]])
        torch.testing.assert_close(moved["xyz"][n], turned)
    assert torch.equal(moved["ids"], own["ids"])


@pytest.mark.parametrize("part", ["ClusterWeights", "SameCluster"])
def test_masked_classes_exclude_parts_that_weigh_them(part: str) -> None:
    contrast = {"negatives": [{"type": part}]}
    with pytest.raises(ValueError, match=f"mask_same_class and {part} exclude each other"):
        build(make_batch(), mask_same_class=True, contrast=contrast, renormalise=True)
    build(make_batch(), contrast=contrast, renormalise=True)


def test_means_of_any_length_are_refused_where_unit_rows_are_assumed() -> None:
    with pytest.raises(ValueError, match="set renormalise=True"):
        build(make_batch(), contrast={"regularizers": [{"type": "Uniformity"}]})
