"""The bootstrap over pictures, on figures whose spread is known."""

import math

import numpy as np

from nuhtc.training.evaluation.evaluate import PictureResult
from nuhtc.training.evaluation.intervals import intervals
from nuhtc.training.measures.instance import InstanceQuality


def picture(dice: float, right: int, missed: int) -> PictureResult:
    quality = InstanceQuality(dice, dice, dice, dice, 1.0, right, missed, 0)
    table = np.array([[right, 0, missed], [0, 0, 0], [0, 0, 0]])
    near = np.array([[right + missed, 0, 0], [0, 0, 0], [0, 0, 0]])
    return PictureResult("made", None, right + missed, right, quality, (quality,), table, near)


def test_equal_pictures_leave_no_doubt() -> None:
    found = intervals([picture(0.5, 3, 1)] * 4, ("dice", "pq"), ("Round",))
    np.testing.assert_allclose(found["dice"], 0.5)
    np.testing.assert_allclose(found["pq"], 0.5)
    np.testing.assert_allclose(found["f1"], 6 / 7)
    np.testing.assert_allclose(found["f1 Round"], 6 / 7)
    np.testing.assert_allclose([found["near f1"], found["near f1 Round"]], 1)


def test_a_mean_lies_where_the_normal_law_says() -> None:
    values = np.random.default_rng(5).uniform(size=200)
    low, high = intervals([picture(v, 1, 0) for v in values], ("dice",), ())["dice"]
    wide = 1.96 * values.std() / math.sqrt(len(values))
    assert abs(low - (values.mean() - wide)) < wide / 5
    assert abs(high - (values.mean() + wide)) < wide / 5


def test_a_crowded_picture_weighs_by_its_nuclei_in_f1_and_as_one_in_means() -> None:
    found = intervals([picture(1.0, 1000, 0), picture(0.0, 0, 10)], ("dice",), ())
    assert found["dice"] == (0.0, 1.0)
    assert found["f1"] == (0.0, 1.0)
    both = intervals([picture(1.0, 1000, 0)] * 9 + [picture(0.0, 0, 10)], ("dice",), ())
    assert both["dice"][0] < 0.8 and both["f1"][0] > 0.98


def test_what_no_picture_has_is_unknown() -> None:
    found = intervals([picture(float("nan"), 0, 0)], ("dice",), ("Round",))
    assert all(math.isnan(end) for name in ("dice", "f1", "f1 Round") for end in found[name])
