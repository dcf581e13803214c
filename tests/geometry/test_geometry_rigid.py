"""Rigid transforms against SciPy's rotations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pc3d.geometry.rigid import (
    invert_SE3,
    make_SE3,
    matrix_to_quaternion,
    quaternion_to_matrix,
    transform_points,
    yaw_matrix,
    yaw_of,
)

component = st.floats(-1, 1, allow_nan=False)
quaternions = st.tuples(component, component, component, component).filter(lambda q: np.linalg.norm(q) > 1e-3)


@settings(deadline=None, max_examples=200)
@given(quaternions)
def test_quaternions_agree_with_scipy_and_come_back(wxyz: tuple[float, ...]) -> None:
    q = np.array(wxyz) / np.linalg.norm(wxyz)
    matrix = quaternion_to_matrix(wxyz)
    np.testing.assert_allclose(matrix, Rotation.from_quat(q[[1, 2, 3, 0]]).as_matrix(), atol=1e-12)
    back = matrix_to_quaternion(matrix)
    assert back[0] >= 0
    np.testing.assert_allclose(min((back - q, back + q), key=np.linalg.norm), 0, atol=1e-7)


def test_quaternion_of_zero_length_is_refused() -> None:
    with pytest.raises(ValueError, match="not a rotation"):
        quaternion_to_matrix([0, 0, 0, 0])


@settings(deadline=None, max_examples=50)
@given(quaternions, st.tuples(*[st.floats(-1e3, 1e3)] * 3))
def test_inverse_brings_points_back(wxyz: tuple[float, ...], translation: tuple[float, ...]) -> None:
    transform = make_SE3(quaternion_to_matrix(wxyz), translation)
    points = np.random.default_rng(0).normal(size=(20, 5))
    moved = transform_points(transform, points)
    np.testing.assert_array_equal(moved[:, 3:], points[:, 3:])
    np.testing.assert_allclose(transform_points(invert_SE3(transform), moved), points, atol=1e-9)
    np.testing.assert_allclose(moved[0, :3], (transform @ [*points[0, :3], 1])[:3], atol=1e-9)


def test_yaw_is_counter_clockwise_from_x() -> None:
    assert yaw_of(yaw_matrix(0.7)) == pytest.approx(0.7)
    np.testing.assert_allclose(yaw_matrix(np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_transform_keeps_the_dtype() -> None:
    assert transform_points(np.eye(4), np.zeros((3, 4), np.float32)).dtype == np.float32
