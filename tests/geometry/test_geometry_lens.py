"""Camera models against OpenCV and plain loops, there and back."""

from __future__ import annotations

from math import hypot, inf, pi, sqrt, tan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.geometry.camera import in_image, project, unproject
from pc3d.geometry.lens import MODELS, PINHOLE, Lens, bent, lens_of, straightened

K = np.array([[500.0, 1.5, 320], [0, 510, 240], [0, 0, 1]])
MIRRORED = np.array([[-500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
REAL = [  # of the kind that calibrations give
    Lens("brown", (-0.37, 0.2, 0.002, 0.0014, -0.07)),
    Lens("brown", (-0.03, -0.33, 0.001, -0.0005, 0.0)),  # folds back within a wide image
    Lens("rational", (0.53, -2.6, 0.0007, -0.0003, 1.5, 0.41, -2.4, 1.44)),  # an Azure Kinect's
    Lens("rational", (8.0, 5.0, 0.0001, 0.0002, 0.25, 8.4, 7.6, 1.3)),
    Lens("fisheye", (0.33, 0.0, 0.03, -0.005)),
    Lens("fisheye", (0.0, 0.0, 0.0, 0.0)),
    Lens("fisheye", (-0.05, -0.1, 0.0, 0.0)),  # folds back before 90 degrees
    Lens("mei", (2.2, 0.016, 1.65, 0.0004, 0.0003)),
    Lens("mei", (0.8, -0.5, 0.05, 0.001, -0.001)),
    Lens("mei", (0.0, -0.4, 0.05, 0.0, 0.0)),
]
NAMES = [f"{n} {lens.model}" for n, lens in enumerate(REAL)]
each_lens = pytest.mark.parametrize("lens", REAL, ids=NAMES)


def rays_of(lens: Lens, count: int, seed: int, margin: float = 0.95) -> np.ndarray:
    """(count, 2) rays at depth 1 in the field, all directions alike, to 86 degrees from the axis."""
    rng = np.random.default_rng(seed)
    most = np.arctan(min(lens.radius * margin, tan(np.radians(86))))
    angle, around = rng.uniform(0, most, count), rng.uniform(-pi, pi, count)
    return np.tan(angle)[:, None] * np.stack([np.cos(around), np.sin(around)], axis=1)


def without(lens: Lens, kinds: str) -> Lens:
    """The lens without the coefficients whose names begin so."""
    named = zip(MODELS[lens.model], lens.coefficients, strict=True)
    return Lens(lens.model, tuple(0.0 if name[0] in kinds else value for name, value in named))


def clear_radius(lens: Lens) -> float:
    """Radius up to which the image moves outwards by a quarter or more of what it would without k1, ..."""
    r = np.tan(np.linspace(0, np.arctan(min(lens.radius * 0.999, 14.0)), 1000))
    line = np.column_stack([r, 0 * r])
    out, plain = (without(lens, kinds).bend(line)[:, 0] for kinds in ("p", "pk"))
    flat = np.diff(out) < 0.25 * np.diff(plain)
    return float(r[flat.argmax()] if flat.any() else r[-1])


def by_opencv(lens: Lens, points: np.ndarray, K: np.ndarray) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    still, given_ = np.zeros(3), np.array(lens.coefficients)
    if lens.model == "fisheye":
        camera = np.array([[K[0, 0], 0, K[0, 2]], K[1], K[2]])
        skew = K[0, 1] / K[0, 0]
        return cv2.fisheye.projectPoints(points[:, None], still, still, camera, given_, alpha=skew)[0][:, 0]
    return cv2.projectPoints(points, still, still, K, given_)[0][:, 0]


def by_a_loop_of_mei(lens: Lens, point: np.ndarray, K: np.ndarray) -> tuple[float, float]:
    """Mei and Rives, with the distortion of OpenCV's omnidir."""
    xi, k1, k2, p1, p2 = lens.coefficients
    x, y, z = point.tolist()
    norm = sqrt(x * x + y * y + z * z)
    x, y, z = x / norm, y / norm, z / norm + xi
    x, y = x / z, y / z
    s = x * x + y * y
    radial = 1 + k1 * s + k2 * s**2
    a, b = (
        x * radial + 2 * p1 * x * y + p2 * (s + 2 * x * x),
        y * radial + p1 * (s + 2 * y * y) + 2 * p2 * x * y,
    )
    return K[0, 0] * a + K[0, 1] * b + K[0, 2], K[1, 1] * b + K[1, 2]


# ---------------------------------------------------------------- there


@each_lens
def test_the_models_are_opencvs_and_meis(lens: Lens) -> None:
    xy = rays_of(lens, 300, seed=1)
    depth = np.random.default_rng(2).uniform(0.5, 50, 300)
    points = np.column_stack([xy, np.ones(300)]) * depth[:, None]
    square = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])  # cv2.projectPoints reads no skew
    given_ = K if lens.model in ("fisheye", "mei") else square
    uv, found = project(points, given_, lens)
    if lens.model == "mei":
        expected = np.array([by_a_loop_of_mei(lens, point, given_) for point in points])
    else:
        expected = by_opencv(lens, points, given_)
    np.testing.assert_array_equal(found, points[:, 2])
    np.testing.assert_allclose(uv, expected, rtol=1e-9, atol=1e-6)


@each_lens
def test_the_kernels_formula_is_that_of_arrays(lens: Lens) -> None:
    xy = rays_of(lens, 50, seed=3)
    single = [bent(float(x), float(y), lens.row) for x, y in [*xy, (0.0, 0.0)]]
    np.testing.assert_allclose(single, lens.bend(np.vstack([xy, [[0, 0]]])), rtol=1e-12, atol=1e-12)
    assert single[-1] == (0.0, 0.0)


def test_a_pinhole_bends_nothing() -> None:
    xy = np.random.default_rng(0).normal(size=(20, 2))
    zeros = [Lens("brown", (0.0,) * n) for n in range(6)]
    for lens in (PINHOLE, *zeros, Lens("rational", (0.0,) * 8), Lens("mei", (0.0,) * 5)):
        assert lens.is_pinhole
        assert lens.radius == inf
        np.testing.assert_array_equal(lens.bend(xy), xy)
        np.testing.assert_array_equal(lens.straighten(xy), xy)
    assert not Lens("fisheye", (0.0,) * 4).is_pinhole
    assert lens_of("brown", ()) is lens_of("brown", ())


def test_few_coefficients_of_brown_are_filled_up() -> None:
    xy = rays_of(Lens("brown", (-0.2,)), 20, seed=0)
    np.testing.assert_array_equal(Lens("brown", (-0.2,)).bend(xy), Lens("brown", (-0.2, 0, 0, 0, 0)).bend(xy))


# ---------------------------------------------------------------- where the field ends


@each_lens
def test_the_field_ends_where_the_formula_turns_back(lens: Lens) -> None:
    """Along a line from the axis, without the tangential terms, the image moves outwards up to `radius`."""
    plain = without(lens, "p")
    assert plain.radius == lens.radius
    inside = np.tan(np.linspace(0, np.arctan(min(lens.radius, 500.0)), 20_001))
    out = plain.bend(np.column_stack([inside, 0 * inside]))[:, 0]
    assert (np.diff(out) > 0).all()
    if lens.radius < inf:
        beyond = bent(lens.radius * 1.001, 0.0, plain.row)[0]
        assert beyond < bent(lens.radius, 0.0, plain.row)[0]
        uv, _ = project(np.array([[lens.radius * 1.001, 0, 1], [lens.radius * 0.999, 0, 1]]), K, lens)
        np.testing.assert_array_equal(np.isnan(uv[:, 0]), [True, False])


def test_which_of_the_lenses_fold() -> None:
    folds = [NAMES[n] for n, lens in enumerate(REAL) if lens.radius < inf]
    assert folds == ["0 brown", "1 brown", "6 fisheye", "8 mei", "9 mei"]


def test_a_pole_ends_the_field() -> None:
    lens = Lens("rational", (0.0, 0.0, 0.0, 0.0, 0.0, -0.25, 0.0, 0.0))  # x / (1 - r^2 / 4)
    assert lens.radius == pytest.approx(2.0)


@each_lens
def test_what_is_beside_or_behind_the_camera_is_left_out(lens: Lens) -> None:
    """A lens of more than 180 degrees sees it; here z <= 0 is nowhere."""
    uv, depth = project(np.array([[1.0, 0, 0], [0.1, 0.1, -1], [0.0, 0, -2]]), K, lens)
    assert np.isnan(uv).all()
    assert depth.tolist() == [0, -1, -2]
    assert not in_image(uv, (640, 480)).any()


# ---------------------------------------------------------------- and back

number = st.floats(-1, 1)


@st.composite
def lenses(draw: st.DrawFn) -> Lens:
    """Of any model, mild to strong; tangential terms as small as those of real lenses."""
    model = draw(st.sampled_from(list(MODELS)))
    size = {"k": 0.3, "p": 0.002}
    values = [draw(number) * size[name[0]] for name in MODELS[model] if name != "xi"]
    return Lens(model, (draw(st.floats(0, 3)), *values) if model == "mei" else tuple(values))


@settings(max_examples=150, deadline=None)
@given(lens=lenses(), seed=st.integers(0, 10_000), mirrored=st.booleans())
def test_unprojection_is_the_inverse_of_projection(lens: Lens, seed: int, mirrored: bool) -> None:
    xy = rays_of(lens, 100, seed, margin=0.9)
    # Where the radial part stands still, and far from the axis of a flat plane, tangential terms fold it.
    far = 4.0 if lens.model in ("brown", "rational") else inf
    xy = xy[np.hypot(*xy.T) < min(far, clear_radius(lens))]
    intrinsics = MIRRORED if mirrored else K
    rays = np.column_stack([xy, np.ones(len(xy))])
    uv, _ = project(rays * 7.0, intrinsics, lens)
    back = unproject(uv, intrinsics, lens)
    np.testing.assert_allclose(back, rays, rtol=1e-6, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(lens=lenses(), seed=st.integers(0, 10_000))
def test_a_pixel_is_the_image_of_its_ray_or_of_none(lens: Lens, seed: int) -> None:
    uv = np.random.default_rng(seed).uniform((-200, -200), (840, 680), (200, 2))
    rays = unproject(uv, K, lens)
    seen = np.isfinite(rays).all(axis=1)
    np.testing.assert_array_equal(seen, np.isfinite(rays).any(axis=1))
    again, _ = project(rays[seen], K, lens)
    np.testing.assert_allclose(again, uv[seen], atol=1e-4)
    assert (np.hypot(*rays[seen, :2].T) <= lens.radius * (1 + 1e-6)).all()


def test_pixels_outside_of_the_circle_of_a_fisheye_show_nothing() -> None:
    lens = Lens("fisheye", (0.0, 0.0, 0.0, 0.0))  # 90 degrees lie at f * pi / 2
    edge = 500 * pi / 2
    square = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    rays = unproject(
        np.array([[320 + edge + 0.1, 240], [320 + edge * 0.98, 240]]),
        square,
        lens,
    )
    assert np.isnan(rays[0]).all()
    np.testing.assert_allclose(rays[1, 0], tan(0.98 * pi / 2), rtol=1e-9)


def test_tensors_of_several_lenses_are_the_arrays_of_each() -> None:
    every = [PINHOLE, *REAL]
    a, b = np.random.default_rng(5).uniform(-0.6, 0.6, (2, len(every), 40))
    rows = torch.tensor([lens.row for lens in every], dtype=torch.float64).T[..., None]
    x, y = straightened(torch.from_numpy(a), torch.from_numpy(b), rows, torch)
    for n, lens in enumerate(every):
        expected = lens.straighten(np.stack([a[n], b[n]], axis=1))
        np.testing.assert_allclose(np.stack([x[n], y[n]], axis=1), expected, rtol=1e-9, atol=1e-12)
        assert np.isfinite(expected).any()


def test_the_middle_of_a_mei_image_is_smaller_by_its_magnification() -> None:
    for lens in REAL:
        a, _ = bent(1e-6, 0.0, Lens(lens.model, lens.coefficients).row)
        assert a / 1e-6 == pytest.approx(lens.magnification, rel=1e-3)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("model", "coefficients", "said"),
    [
        ("ocam", (), "camera model is 'ocam', expected one of brown, rational, fisheye, mei"),
        ("brown", (0.1,) * 8, "expected up to 5 finite numbers: k1 k2 p1 p2 k3"),
        ("rational", (0.1,) * 5, "expected 8 finite numbers: k1 k2 p1 p2 k3 k4 k5 k6"),
        ("fisheye", (), "expected 4 finite numbers"),
        ("mei", (1.0, 0.1), "expected 5 finite numbers: xi k1 k2 p1 p2"),
        ("mei", (-0.5, 0.0, 0.0, 0.0, 0.0), "xi of the camera model mei is -0.5"),
        ("brown", (np.nan,), "finite"),
    ],
)
def test_wrong_models_are_refused(model: str, coefficients: tuple[float, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Lens(model, coefficients)


def test_hypot_of_the_radius_is_what_is_cut() -> None:
    lens = REAL[1]
    inside = np.array([[0.6, 0.8]]) * lens.radius * 0.999
    assert hypot(*inside[0]) < lens.radius
    assert np.isfinite(lens.bend(inside)).all()
    assert np.isnan(lens.bend(inside * 1.002)).all()
