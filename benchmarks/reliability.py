"""Whether scores mean what they say: how often nuclei of a score are right, before and after.

    python benchmarks/reliability.py ../shared/data/consep/train ... [--bundle BUNDLE]
                                     [--chart FILE]

The doubtful nuclei of all held-out pictures are found too, down to a score of 0.02. A nucleus is
right if its outline has an IoU above one half with an annotated one; its class is right if that
is called the same. Temperatures and bias are fitted as `nuhtc-export --tune` does. So that their
gain is not measured on what they were fitted on, each picture's nuclei get those that all the
other pictures give. The expected calibration error (Guo et al. 2017, section 2) is the mean
distance of the bins' points from the diagonal, weighted by nuclei.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuhtc.export.proof.tune import Fit, FoundNuclei, find_all, fit, remember
from nuhtc.runtime.bundle.load import default_bundle, load_bundle
from nuhtc.runtime.engines.calibration import calibrate
from nuhtc.training.data.open import open_set

BINS = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class Curve:
    """How sure, how often right, and how many, bin by bin; empty bins are left out."""

    sure: NDArray[np.float64]
    right: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error."""
        return float((np.abs(self.sure - self.right) * self.count).sum() / self.count.sum())


def curve(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> Curve:
    """Put answers into bins of equal width."""
    place = np.clip(np.digitize(sure, BINS) - 1, 0, len(BINS) - 2)
    count = np.bincount(place, minlength=len(BINS) - 1)
    some = count > 0
    means = [np.bincount(place, v, len(BINS) - 1)[some] / count[some] for v in (sure, right)]
    return Curve(means[0], means[1], count[some])


def object_curve(found: list[FoundNuclei], fits: list[Fit]) -> Curve:
    """Of being a nucleus."""
    pairs = zip(found, fits, strict=True)
    sure = [calibrate(one.probabilities, *t).sum(axis=1, dtype=np.float64) for one, t in pairs]
    return curve(np.concatenate(sure), np.concatenate([one.right for one in found]))


def class_curve(found: list[FoundNuclei], fits: list[Fit]) -> Curve:
    """Of the class, given that it is a nucleus."""
    sure, right = [], []
    for one, t in zip(found, fits, strict=True):
        typed = one.types >= 0
        each = calibrate(one.probabilities[typed], *t).astype(np.float64)
        sure.append(each.max(axis=1, initial=0) / each.sum(axis=1))
        right.append(each.argmax(axis=1) == one.types[typed])
    return curve(np.concatenate(sure), np.concatenate(right))


def draw(curves: dict[str, tuple[Curve, Curve]], path: Path) -> None:
    """Draw the points before and after, and how many nuclei each stands for."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(curves), figsize=(9, 4.4), layout="constrained")
    for axes, (title, both) in zip(panels, curves.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
        for one, name, colour in zip(
            both, ("as trained", "calibrated"), ("#c8503c", "#3b6fb6"), strict=True
        ):
            label = f"{name} (error {one.error:.3f})"
            axes.plot(one.sure, one.right, color=colour, linewidth=1)
            size = 4 + 120 * one.count / one.count.max()
            axes.scatter(one.sure, one.right, size, colour, label=label)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("said")
        axes.legend(loc="upper left", fontsize=8)
    panels[0].set_ylabel("true")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Print what is fitted and the calibration errors, and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="folders of annotated pictures")
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--chart", type=Path, help="draw the curves here")
    arguments = parser.parse_args()
    data = [open_set(path) for path in arguments.data]
    bundle = load_bundle(arguments.bundle)
    found = find_all(bundle, remember(bundle), data)
    print(", ".join(f"{name} {value:g}" for name, value in fit(found)._asdict().items()))
    raw = [Fit()] * len(found)
    others = [fit([*found[:i], *found[i + 1 :]]) for i in range(len(found))]
    curves = {
        "being a nucleus": (object_curve(found, raw), object_curve(found, others)),
        "its class": (class_curve(found, raw), class_curve(found, others)),
    }
    for title, (before, after) in curves.items():
        count = before.count.sum()
        print(f"{title}: error {before.error:.4f}, calibrated {after.error:.4f}; {count:,}")
    if arguments.chart:
        draw(curves, arguments.chart)


if __name__ == "__main__":
    main()
