"""Verification as PAN scores it: is this text by that user, yes, no, or better left open?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A probability so near to a half is no answer.
OPEN = 0.05


@dataclass(frozen=True)
class Claims:
    """brier: mean squared error of the probabilities (0 is perfect, 0.25 is always saying a half).

    c_at_1: accuracy in which a claim left open counts as much as the accuracy on the others (Penas and Rodrigo, A
    simple measure to assess non-response, 2011). f05u: F0.5 of "yes" in which a claim left open counts as a miss
    (Bevendorff et al., Generalizing unmasking for short texts, 2019).
    """

    brier: float
    c_at_1: float
    f05u: float


def judge_claims(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> Claims:
    """Score the probabilities of claims against what is true of them."""
    n = len(truth)
    left = np.abs(probabilities - 0.5) < OPEN
    yes = (probabilities > 0.5) & ~left
    right = int((~left & (yes == truth)).sum())
    hits, false = int((yes & truth).sum()), int((yes & ~truth).sum())
    missed = int((~yes & ~left & truth).sum()) + int(left.sum())
    below = 1.25 * hits + 0.25 * missed + false
    return Claims(
        brier=float(np.mean((probabilities - truth) ** 2)),
        c_at_1=(right + int(left.sum()) * right / n) / n,
        f05u=1.25 * hits / below if below else 0.0,
    )
