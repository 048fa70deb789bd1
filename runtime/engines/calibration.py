"""Scores that mean what they say: how often a nucleus, or its class, is right.

The heads' answer is a product: of being an object at all, and of each class given that it is one.
The classes' logits are divided by a temperature (Guo et al., On Calibration of Modern Neural
Networks, 2017, section 4). An object's logit is also moved by a bias (Platt, Probabilistic outputs
for support vector machines, 1999): three of four regions that the heads learn from are background,
so that they think too little of the few that are left after suppression.
"""

import numpy as np
from numpy.typing import NDArray


def calibrate(
    probabilities: NDArray[np.float32],
    object_temperature: float,
    object_bias: float,
    class_temperature: float,
) -> NDArray[np.float32]:
    """Return class probabilities after their logits were divided, and the object's moved.

    Parameters
    ----------
    probabilities
        float32 (R, C), as the heads give them; what a row lacks to 1 is the background's.
    object_temperature, class_temperature
        Above 0; 1 changes nothing.
    object_bias
        Added to the object's divided logit; 0 changes nothing.

    Returns
    -------
    float32 (R, C)
    """
    if (object_temperature, object_bias, class_temperature) == (1.0, 0.0, 1.0):
        return probabilities
    # Double precision, and a floor, so that rows of all but 0 or 1 stay finite.
    each = np.maximum(probabilities.astype(np.float64), 1e-30)
    objects = np.clip(each.sum(axis=1, keepdims=True), 1e-12, 1 - 1e-12)
    odds = (objects / (1 - objects)) ** (1 / object_temperature) * np.exp(object_bias)
    shares = (each / each.max(axis=1, keepdims=True, initial=1e-30)) ** (1 / class_temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    calibrated: NDArray[np.float32] = (shares * (odds / (1 + odds))).astype(np.float32)
    return calibrated
