"""Users into train, validation and sealed; a user's samples into shown, evaluated and those that train a judge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hyperalign_dspy.errors import NotEnoughData
from hyperalign_dspy.types import Corpus, Sample, User

_SEALED, _VALIDATION = 0.5, 0.3
_LEAST_SEALED, _LEAST_VALIDATION, _LEAST_TRAIN = 1, 4, 2
# Of a prolific user's samples so large a share is kept for requests to be answered.
_EVALUATED = 0.2


@dataclass(frozen=True)
class Needs:
    """How many samples a user must have for each purpose, and how many users there must be."""

    shown: int = 4
    evaluated: int = 2
    verifier: int = 4
    users: int = 12

    @property
    def samples(self) -> int:
        """Samples a user in all."""
        return self.shown + self.evaluated + self.verifier


@dataclass(frozen=True)
class _Portions:
    """One user's samples: what prompts may show, whose requests are answered, and the judge's."""

    shown: tuple[Sample, ...]
    evaluated: tuple[Sample, ...]
    verifier: tuple[Sample, ...]


@dataclass(frozen=True)
class _Split:
    """Users by what they are for. ``digest`` is the SHA-256 of the three lists of ids and the seed."""

    train: tuple[User, ...]
    validation: tuple[User, ...]
    sealed: tuple[User, ...]
    seed: int
    digest: str


def split_users(corpus: Corpus, needs: Needs, seed: int) -> _Split:
    """_Split by user: half sealed, about a third validation, the rest train; each part in a seeded order.

    Users with too few samples (or too few groups of them) are left out.

    Raises:
        NotEnoughData: fewer users remain than are needed, with both numbers.
    """
    suffice = portion(corpus.users, needs, seed)
    able = [user for user in corpus.users if user.user_id in suffice]
    least = max(needs.users, _LEAST_SEALED + _LEAST_VALIDATION + _LEAST_TRAIN)
    if len(able) < least:
        raise NotEnoughData(
            f"{corpus.name} has {len(able)} users with at least {needs.samples} samples each "
            f"(of {len(corpus.users)} users); {least} are needed.",
            fix="Add texts or users, or try `--data bundled`.",
        )
    able.sort(key=lambda user: _rank(seed, "user", user.user_id))
    sealed = min(int(_SEALED * len(able)), len(able) - _LEAST_VALIDATION - _LEAST_TRAIN)
    validation = max(_LEAST_VALIDATION, round(_VALIDATION * len(able)))
    validation = min(validation, len(able) - sealed - _LEAST_TRAIN)
    parts = (able[sealed + validation :], able[sealed : sealed + validation], able[:sealed])
    text = json.dumps([[user.user_id for user in part] for part in parts] + [seed])
    train, middle, rest = (tuple(part) for part in parts)
    return _Split(train, middle, rest, seed, hashlib.sha256(text.encode()).hexdigest())


def portion(users: Iterable[User], needs: Needs, seed: int) -> dict[str, _Portions]:
    """The samples of every user who has enough, by user; who has many gives a fifth of them to be evaluated.

    No group has samples both on the side of prompts (shown, evaluated) and on the judge's.
    """
    found = {user.user_id: _portions(user, needs, seed) for user in users}
    return {user_id: portions for user_id, portions in found.items() if portions}


def _portions(user: User, needs: Needs, seed: int) -> _Portions | None:
    # A sample of two groups ties them together; where that leaves too few groups, such samples are left out.
    for samples in (user.samples, [s for s in user.samples if len(s.group.split()) < 2]):
        groups = _groups(user.user_id, samples, seed)
        for evaluated in (int(_EVALUATED * len(samples)), needs.evaluated):
            count = needs.shown + max(evaluated, needs.evaluated)
            prompts, left = _take(groups, count)
            verifier = [sample for group in left for sample in group]
            if len(prompts) == count and len(verifier) >= needs.verifier:
                return _Portions(tuple(prompts[: needs.shown]), tuple(prompts[needs.shown :]), tuple(verifier))
    return None


def _take(groups: Sequence[list[Sample]], count: int) -> tuple[list[Sample], list[list[Sample]]]:
    """Samples of whole groups until there are enough; what is over of the last serves nothing."""
    taken: list[Sample] = []
    for place, group in enumerate(groups):
        if len(taken) >= count:
            return taken[:count], list(groups[place:])
        taken.extend(group)
    return taken[:count], []


def _groups(user_id: str, given: Sequence[Sample], seed: int) -> list[list[Sample]]:
    """Samples that share a group, or a word of it ("3 4" and "4 5" share document 4), in a seeded order.

    The smallest groups come first, so that the largest is left whole for the judge.
    """
    found: list[tuple[set[str], list[Sample]]] = []
    for place, sample in enumerate(given):
        names = set(sample.group.split()) or {f"#{place}"}
        touching = [pair for pair in found if pair[0] & names]
        merged = (names.union(*(t[0] for t in touching)), [s for t in touching for s in t[1]] + [sample])
        found = [pair for pair in found if pair not in touching] + [merged]
    ordered = sorted(found, key=lambda pair: _rank(seed, user_id, "|".join(sorted(pair[0]))))
    groups = [sorted(samples, key=lambda s: _rank(seed, user_id, s.text)) for _, samples in ordered]
    return sorted(groups, key=len)


def _rank(seed: int, *names: str) -> str:
    return hashlib.sha256(json.dumps([seed, *names]).encode()).hexdigest()
