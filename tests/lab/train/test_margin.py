from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facekeep.errors import InputError
from facekeep.lab.train.heads import ArcFace, CosFace, Margin

angles = torch.linspace(0, math.pi, 2001, dtype=torch.float64)


def test_cosface_takes_the_margin_off_the_cosine() -> None:
    cosines = torch.tensor([-1.0, 0.0, 0.25, 1.0])
    assert CosFace(0.25)(cosines).tolist() == [-1.25, -0.25, 0.0, 0.75]
    assert CosFace() == CosFace(0.4)


def test_arcface_adds_the_margin_to_the_angle() -> None:
    near = angles[(angles > 0.01) & (angles < math.pi - 0.5)]
    torch.testing.assert_close(ArcFace()(near.cos()), (near + 0.5).cos())


def test_arcface_goes_on_falling_where_the_sum_passes_180_degrees() -> None:
    far = angles[angles > math.pi - 0.5]
    expected = far.cos() - 1 + math.cos(0.5)
    torch.testing.assert_close(ArcFace(0.5)(far.cos()), expected)


@given(
    margin=st.one_of(
        st.floats(0, 0.99).map(CosFace), st.floats(0, 1.57, exclude_max=True).map(ArcFace)
    )
)
def test_every_margin_falls_with_the_angle_without_a_step(margin: Margin) -> None:
    harder = margin(angles.cos())
    falls = harder[:-1] - harder[1:]
    assert (falls > -1e-6).all()
    assert (falls < 0.005).all()
    assert (harder <= angles.cos() + 1e-12).all()


def test_arcface_has_finite_gradients_at_the_ends() -> None:
    cosines = torch.tensor([-1.0, 1.0, -1.0000001, 1.0000001], requires_grad=True)
    ArcFace()(cosines).sum().backward()
    assert cosines.grad is not None
    assert cosines.grad.isfinite().all()
    assert (cosines.grad > 0).all()


@pytest.mark.parametrize("margin", [-0.1, 1.0, math.nan, math.inf])
def test_cosface_refuses(margin: float) -> None:
    with pytest.raises(InputError, match="margin of cosface must be 0 to below 1, not"):
        CosFace(margin)


@pytest.mark.parametrize("margin", [-0.1, 1.5708, math.nan])
def test_arcface_refuses(margin: float) -> None:
    with pytest.raises(InputError, match="margin of arcface must be 0 to below pi / 2, not"):
        ArcFace(margin)
