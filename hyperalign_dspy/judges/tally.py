"""Figures over many verdicts of a pairwise judge: wins, what length does to them, and how steady the judge is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from hyperalign_dspy.metrics.stats import LEAST_USERS, LEVEL, Estimate, proportion

# Keeps the fit finite where one side wins everything.
_RIDGE = 0.01


@dataclass(frozen=True)
class JudgedPair:
    """One verdict of both orders on (first, second). ``length`` is the first's words minus the second's."""

    user_id: str
    winner: str
    votes: tuple[str, str]
    length: int

    @property
    def win(self) -> float:
        """1 where the first won, 0 where the second did; ties and abstentions are a half."""
        return {"first": 1.0, "second": 0.0}.get(self.winner, 0.5)


@dataclass(frozen=True)
class Tally:
    """wins: of the first, ties and abstentions counting half. length_controlled: the same, had both been of one length.

    flips: share of pairs, of those answered in both orders, whose answer changes with the order. abstained: share of
    votes that name neither. length_effect: how far the log-odds of winning rise when the first is longer by one
    standard deviation of the lengths' differences. longer: share of decided pairs won by the longer text.
    """

    wins: Estimate
    length_controlled: Estimate
    flips: Estimate
    abstained: float
    length_effect: float
    longer: Estimate

    @classmethod
    def of(cls, judged: Sequence[JudgedPair]) -> Tally:
        """All figures over some verdicts."""
        users = [j.user_id for j in judged]
        both = [j for j in judged if "abstain" not in j.votes]
        decided = [j for j in judged if j.winner in ("first", "second") and j.length]
        lengths = np.array([j.length for j in judged], dtype=float)
        controlled, effect = _length_controlled([j.win for j in judged], lengths, users)
        return cls(
            wins=proportion([j.win for j in judged], users),
            length_controlled=controlled,
            flips=proportion([float(j.winner == "tie") for j in both], [j.user_id for j in both]),
            abstained=float(np.mean([vote == "abstain" for j in judged for vote in j.votes])) if judged else 0.0,
            length_effect=effect,
            longer=proportion(
                [float((j.winner == "first") == (j.length > 0)) for j in decided], [j.user_id for j in decided]
            ),
        )


def _length_controlled(
    wins: Sequence[float], lengths: NDArray[np.float64], users: Sequence[str]
) -> tuple[Estimate, float]:
    """The win rate had both texts been of one length, and the length's effect.

    A logistic regression of wins on a constant and on tanh(difference / standard deviation), the length term then set
    to 0, as in AlpacaEval 2 (Dubois et al., Length-controlled AlpacaEval, 2024). It differs in that there is no term
    for how hard each instruction is, for which there are too few verdicts here, and in that the interval is robust to
    several verdicts of one user (Liang and Zeger, 1986; Student's t over users).
    """
    y = np.array(wins, dtype=float)
    spread = float(lengths.std()) or 1.0
    x = np.column_stack([np.ones_like(y), np.tanh(lengths / spread)])

    def loss(b: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        p = special.expit(x @ b)
        value = float(-special.xlogy(y, p).sum() - special.xlog1py(1 - y, -p).sum() + _RIDGE * b @ b / 2)
        return value, x.T @ (p - y) + _RIDGE * b

    b = optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    names = sorted(set(users))
    mean = float(special.expit(b[0]))
    if len(names) < LEAST_USERS:
        return Estimate(mean, float("nan"), float("nan"), len(names), len(y)), float(b[1])
    error = _robust_error(x, y, b, np.array([names.index(user) for user in users]))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(names) - 1)) * error
    low, high = special.expit([b[0] - half, b[0] + half])
    return Estimate(mean, float(low), float(high), len(names), len(y)), float(b[1])


def _robust_error(
    x: NDArray[np.float64], y: NDArray[np.float64], b: NDArray[np.float64], groups: NDArray[np.int64]
) -> float:
    """Standard error of the constant, clustered by user."""
    p = special.expit(x @ b)
    bread = np.linalg.inv(x.T @ (x * (p * (1 - p))[:, None]) + _RIDGE * np.eye(2))
    scores = np.zeros((groups.max() + 1, 2))
    np.add.at(scores, groups, x * (y - p)[:, None])
    count = len(scores)
    return float(np.sqrt((bread @ (scores.T @ scores) @ bread)[0, 0] * count / (count - 1)))
