"""Temperatures divide logits and a bias moves them: held against logits that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nuhtc.runtime.engines.calibration import calibrate

temperatures = st.floats(0.2, 5)
logits = arrays(np.float64, (7, 4), elements=st.floats(-6, 6))
objects = arrays(np.float64, (7, 1), elements=st.floats(-6, 6))


def product(objects, logits):
    """What the heads give for an object's logit against the background and classes' logits."""
    each = np.exp(logits - logits.max(axis=1, keepdims=True))
    return each / each.sum(axis=1, keepdims=True) / (1 + np.exp(-objects))


@given(objects, logits, temperatures, st.floats(-2, 2), temperatures)
def test_logits_are_divided_and_moved(objects, logits, object_t, bias, class_t) -> None:
    found = calibrate(product(objects, logits).astype(np.float32), object_t, bias, class_t)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, product(objects / object_t + bias, logits / class_t), rtol=2e-3, atol=1e-5
    )


def test_ones_and_zero_change_nothing_at_all() -> None:
    given_ = np.random.default_rng(0).random((5, 3), np.float32)
    assert calibrate(given_, 1.0, 0.0, 1.0) is given_


@pytest.mark.parametrize("row", [[0, 0], [1, 0], [0.5, 0.5], [1e-38, 0]])
def test_certainty_stays_finite(row) -> None:
    found = calibrate(np.array([row], np.float32), 0.3, 1.0, 7.0)
    assert np.isfinite(found).all()
    assert (found >= 0).all() and found.sum() <= 1 + 1e-6


def test_no_regions_give_none() -> None:
    assert calibrate(np.zeros((0, 4), np.float32), 2.0, 1.0, 2.0).shape == (0, 4)
