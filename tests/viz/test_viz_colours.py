"""Colours: PCA against scikit-learn, palettes, scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from pc3d.data.classes import ClassSet, load_class_set, ready_made
from pc3d.data.label_maps import (
    NUSCENES_LIDARSEG_CATEGORIES,
    NUSCENES_LIDARSEG_CLASSES,
    NUSCENES_LIDARSEG_LUT,
)
from pc3d.viz.class_colours import (
    LIDARSEG_PALETTE,
    box_colours,
    box_legend,
    class_colours,
    colour_table,
    label_colours,
)
from pc3d.viz.colours import (
    NEUTRAL,
    categorical_colours,
    depth_colours,
    height_colours,
    intensity_colours,
    pca_colours,
    principal_components,
    similarity_colours,
)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(4, 40), st.integers(60, 200))
def test_principal_components_are_those_of_scikit_learn_up_to_sign(seed: int, width: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scales = np.geomspace(10, 0.1, width)
    features = rng.normal(size=(count, width)) * scales + rng.normal(size=width) * 5
    ours = principal_components(features)
    theirs = PCA(3, svd_solver="full").fit_transform(features)
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours, theirs * signs, atol=1e-8)


def test_pca_colours_are_the_quantile_scaled_components_of_the_valid_points() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(500, 16)) * np.geomspace(5, 0.2, 16)).astype(np.float32)
    valid = rng.random(500) < 0.8
    features[~valid] = 1e6  # must not reach the fit
    colours = pca_colours(features, valid)
    scores = PCA(3, svd_solver="full").fit_transform(features[valid].astype(np.float64))
    low, high = np.quantile(scores, [0.02, 0.98], axis=0)
    expected = 50 + np.clip((scores - low) / (high - low), 0, 1) * 205
    for channel in range(3):
        got = colours[valid, channel].astype(float)
        off = min(np.abs(got - e).max() for e in (expected[:, channel], 305 - expected[:, channel]))
        assert off <= 1.0
    assert (colours[~valid] == NEUTRAL).all()


def test_pca_colours_do_not_depend_on_the_order_of_the_points() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(300, 8))
    order = rng.permutation(300)
    difference = pca_colours(features)[order].astype(int) - pca_colours(features[order])
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    "features", [np.zeros((5, 8)), np.ones((4, 1)), np.full((3, 4), np.nan), np.empty((0, 4))]
)
def test_pca_colours_of_degenerate_features(features: np.ndarray) -> None:
    colours = pca_colours(features)
    assert colours.shape == (len(features), 3)
    assert len(np.unique(colours, axis=0)) <= 1


def test_similarity_is_greatest_at_the_anchor() -> None:
    features = np.array([[1.0, 0], [2.0, 0], [0, 1], [-1, 0], [np.nan, 0]])
    colours = similarity_colours(features, 0)
    assert (colours[0] == colours[1]).all(), "the length of a feature does not count"
    assert colours[0, 0] > colours[2, 0], "warm means alike"
    assert (colours[2] == colours[3]).all(), "orthogonal and opposite are both cold"
    assert (colours[4] == NEUTRAL).all()
    with pytest.raises(ValueError, match="choose another anchor"):
        similarity_colours(features, 4)


def test_neighbouring_ids_differ_and_an_id_keeps_its_colour() -> None:
    colours = categorical_colours(np.arange(2000)).astype(int)
    for step in (1, 2, 3):
        assert np.abs(colours[step:] - colours[:-step]).sum(axis=1).min() > 60
    assert (
        categorical_colours(np.array([7, -1, 7, 1500])) == [colours[7], NEUTRAL, colours[7], colours[1500]]
    ).all()
    luminance = colours @ (0.2126, 0.7152, 0.0722)
    assert luminance.min() > 70, "legible on the dark background"


def test_every_lidarseg_class_has_its_own_colour_however_it_is_spelled() -> None:
    assert set(LIDARSEG_PALETTE) == set(NUSCENES_LIDARSEG_CLASSES)
    assert len(set(LIDARSEG_PALETTE.values())) == 16
    for category, label in zip(NUSCENES_LIDARSEG_CATEGORIES, NUSCENES_LIDARSEG_LUT, strict=True):
        if label >= 0:
            expected = LIDARSEG_PALETTE[NUSCENES_LIDARSEG_CLASSES[label]]
            assert tuple(class_colours([category])[0]) == expected, category


def test_colours_of_a_class_set_are_its_own_and_differ() -> None:
    own = ClassSet(
        "own",
        ("road", "Kiosk", "car", "van", "parked car", "Baum"),
        {"Baum": (1, 2, 3)},
        detection=("car", "robot"),
        boxes={"PKW": "car", "R2": "robot", "box": "ignore"},
    )
    table = colour_table(own)
    assert list(table) == ["road", "Kiosk", "car", "van", "parked car", "Baum", "robot"]
    assert table["Baum"] == (1, 2, 3)
    assert table["car"] == LIDARSEG_PALETTE["car"]
    assert table["road"] == LIDARSEG_PALETTE["driveable_surface"]
    got = box_colours(["R2", "car", "PKW", "box"], own)
    np.testing.assert_array_equal(got, [table["robot"], table["car"], table["car"], NEUTRAL])
    assert (class_colours(["unheard"], own) == class_colours(["other", "unheard"])[1]).all(), "by its name"
    legend = box_legend(["R2", "PKW", "box"], own)
    assert legend == {"car": table["car"], "robot": table["robot"], "no class": NEUTRAL}


def test_boxes_without_a_class_are_grey_and_the_legend_says_so() -> None:
    # "van" is a class of points alone, "bus" is ignored, "Truck" is not named: none has a class of boxes.
    own = ClassSet(
        "own",
        ("van", "bus"),
        detection=("car", "truck"),
        boxes={"PKW": "car", "LKW": "truck", "bus": "ignore"},
    )
    names = ["PKW", "van", "bus", "Truck", "unheard", "LKW", "truck"]
    table, legend = colour_table(own), box_legend(names, own)
    expected = [table["car"], *[NEUTRAL] * 4, table["truck"], table["truck"]]
    np.testing.assert_array_equal(box_colours(names, own), expected)
    assert legend == {"car": table["car"], "truck": table["truck"], "no class": NEUTRAL}
    assert (class_colours(["van", "bus"], own) == [table["van"], table["bus"]]).all(), "as classes of points"
    points_alone = ClassSet("own", ("van",))
    assert box_legend(["van", "Truck"], points_alone) == {
        "van": colour_table(points_alone)["van"],
        "Truck": LIDARSEG_PALETTE["truck"],
    }


@pytest.mark.parametrize("name", ready_made())
def test_no_two_classes_of_a_set_look_alike(name: str) -> None:
    table = np.array(list(colour_table(load_class_set(name)).values()), dtype=np.float64)
    apart = np.linalg.norm(table[:, None] - table[None], axis=2) + 1e3 * np.eye(len(table))
    assert apart.min() > 25, np.argwhere(apart <= 25)
    assert np.linalg.norm(table - NEUTRAL, axis=1).min() > 25


@settings(deadline=None, max_examples=15)
@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=40, unique=True))
def test_any_names_have_colours(names: list[str]) -> None:
    kept = tuple(name for name in names if name != "ignore") or ("a",)
    assert len(set(colour_table(ClassSet("own", kept)).values())) == len(kept)


def test_ignored_labels_are_neutral() -> None:
    colours = label_colours(np.array([3, -1, 99]), NUSCENES_LIDARSEG_CLASSES)
    np.testing.assert_array_equal(colours, [LIDARSEG_PALETTE["car"], NEUTRAL, NEUTRAL])


def test_scales_run_from_cold_to_warm() -> None:
    heights = height_colours(np.linspace(-2, 4, 7), -2, 4).astype(int)
    assert heights[0, 2] > heights[0, 0]
    assert heights[-1, 0] > heights[-1, 2]
    near, far = depth_colours(np.array([2.0, 60.0])).astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]
    assert (np.diff(intensity_colours(np.linspace(0, 255, 50)).astype(int).sum(axis=1)) >= 0).all()


@pytest.mark.parametrize("scale", [height_colours, intensity_colours, depth_colours])
def test_scales_take_empty_constant_and_nan(scale: object) -> None:
    for values in (np.empty(0), np.full(3, 2.0), np.array([1.0, np.nan, 3.0])):
        assert scale(values).shape == (len(values), 3)  # type: ignore[operator]
