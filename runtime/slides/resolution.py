"""How many microns a level-0 pixel covers: from metadata, or said by the user, or an error.

Working at the wrong scale costs more accuracy than any other mistake, so nothing here guesses
silently: a resolution comes from the file, from `--mpp`, or (for plain pictures only) from a
fallback that is said aloud.
"""

import logging
import math
from collections.abc import Mapping

from nuhtc.runtime.ground.errors import ResolutionError, UsageError

LOG = logging.getLogger(__name__)

PLAUSIBLE_SLIDE = (0.01, 10.0)
"""um/px a slide's metadata may claim; 72 dpi, what drawing programs write, is 353 um/px."""

PLAUSIBLE_PICTURE = (0.05, 2.0)
"""um/px at which a picture's own dpi is believed: a microscope's, never a screen's or printer's."""

CONTRADICTION = 0.05
"""Relative difference between `--mpp` and the metadata above which a warning is logged."""

SQUARE_ENOUGH = 0.02
"""Relative difference between um/px in x and y that is taken as a rounding of one value."""

MAX_ANISOTROPY = 0.10
"""Relative difference between um/px in x and y above which the metadata are refused."""

SAME_SCALE = 0.02
"""Relative difference between a slide's um/px and the model's below which nothing is resampled:
a scanner's 0.2462 or 0.2525 is the model's 0.25 for every purpose, and stays sharp."""

HOW_TO_SAY = "give it, such as --mpp 0.25 (a 40x scan is about 0.25 um/px, 20x about 0.5)"

UM_PER_INCH = 25400.0


def slide_mpp(properties: Mapping[str, str], where: str, mpp: float | None) -> float:
    """Settle the um/px of a slide that OpenSlide opened.

    Parameters
    ----------
    properties
        The slide's OpenSlide properties.
    where
        The slide's name in messages.
    mpp
        What the user said (`--mpp`), um/px; it wins over the metadata.

    Raises
    ------
    ResolutionError
        The metadata have no resolution or an impossible one, and `mpp` is None.
    UsageError
        `mpp` is not a resolution.
    """
    if mpp is None:
        return _from_metadata(properties, where)
    check_mpp(mpp)
    try:
        stated = _from_metadata(properties, where)
    except ResolutionError:
        return mpp
    _warn_contradiction(stated, mpp, where)
    return mpp


def picture_mpp(
    dpi: tuple[float, float] | None, where: str, mpp: float | None, fallback: float | None
) -> float:
    """Settle the um/px of a plain picture.

    Parameters
    ----------
    dpi
        Pixels per inch in x and y from the file, believed only where a microscope could have
        written them.
    where
        The picture's name in messages.
    mpp
        What the user said (`--mpp`), um/px; it wins.
    fallback
        um/px to assume, with a warning, when nothing else is known; None forbids it.

    Raises
    ------
    ResolutionError
        Nothing is known and `fallback` is None.
    UsageError
        `mpp` is not a resolution.
    """
    stated = _from_dpi(dpi)
    if mpp is not None:
        check_mpp(mpp)
        if stated is not None:
            _warn_contradiction(stated, mpp, where)
        return mpp
    if stated is not None:
        LOG.info("%s: %.4g um/px, from the resolution stored in the picture", where, stated)
        return stated
    if fallback is None:
        raise ResolutionError(f"{where}: the picture has no usable um/px; {HOW_TO_SAY}")
    LOG.warning(
        "%s: the picture has no usable um/px; taken as %g, the model's own. "
        "If that is wrong, give --mpp",
        where,
        fallback,
    )
    return fallback


def working_mpp(slide_mpp: float, model_mpp: float) -> float:
    """Return the um/px to work at: the model's, or the slide's own where they are the same scale.

    Where it is the slide's own, tiles are plain crops and outlines lie on whole level-0 pixels.
    """
    return slide_mpp if abs(slide_mpp / model_mpp - 1) <= SAME_SCALE else model_mpp


def check_mpp(mpp: float) -> None:
    """Refuse a user's um/px that no light microscope has, such as a magnification or nanometres."""
    low, high = PLAUSIBLE_SLIDE
    if not (math.isfinite(mpp) and low <= mpp <= high):
        raise UsageError(
            f"--mpp {mpp:g} is no resolution: it is in microns per pixel, from {low:g} to "
            f"{high:g} (a 40x scan is about 0.25, 20x about 0.5)"
        )


def _from_metadata(properties: Mapping[str, str], where: str) -> float:
    texts = [properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
    known = [text for text in texts if text]
    if not known:
        power = properties.get("openslide.objective-power")
        hint = f" (its metadata say {power}x)" if power else ""
        raise ResolutionError(
            f"{where}: the slide has no um/px in its metadata{hint}; {HOW_TO_SAY}"
        )
    values = [_number(text) for text in known]
    low, high = PLAUSIBLE_SLIDE
    if not all(low <= value <= high for value in values):
        raise ResolutionError(
            f"{where}: the metadata's resolution ({' x '.join(known)} um/px) is not that of a "
            f"microscope slide; {HOW_TO_SAY}"
        )
    apart = max(values) / min(values) - 1
    if apart > MAX_ANISOTROPY:
        raise ResolutionError(
            f"{where}: the metadata give {values[0]:g} um/px in x but {values[1]:g} in y; pixels "
            f"must be square: if one of them is right, {HOW_TO_SAY}"
        )
    mean = math.sqrt(values[0] * values[-1])
    if apart > SQUARE_ENOUGH:
        LOG.warning(
            "%s: %g um/px in x but %g in y; taken as %.4g", where, values[0], values[-1], mean
        )
    return values[0] if apart == 0 else mean


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _from_dpi(dpi: tuple[float, float] | None) -> float | None:
    if dpi is None or not all(math.isfinite(value) and value > 0 for value in dpi):
        return None
    mpp_x, mpp_y = (UM_PER_INCH / float(value) for value in dpi)
    low, high = PLAUSIBLE_PICTURE
    if not low <= mpp_x <= high or abs(mpp_y / mpp_x - 1) > SQUARE_ENOUGH:
        return None
    return mpp_x


def _warn_contradiction(stated: float, mpp: float, where: str) -> None:
    if abs(mpp / stated - 1) > CONTRADICTION:
        LOG.warning(
            "%s: --mpp %g is used although the file itself says %.4g um/px", where, mpp, stated
        )
