"""Blocks: fixed, seeded groups of instances that every configuration meets in the same order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

from hyperalign_dspy.tasks.protocol import HasUser


def make_blocks(instances: Sequence[HasUser], users: int, seed: int, rounds: int = 1) -> list[list[HasUser]]:
    """Deal instances into blocks of up to ``users`` users.

    In each of ``rounds`` every user is met once, with an equal part of their instances: users differ more than what one
    writes on several requests, so many users are met before any is met again. Whoever has fewer instances than there
    are rounds is missing from the last ones.
    """
    ids = sorted({instance.user_id for instance in instances})
    random.Random(f"{seed}:blocks").shuffle(ids)
    own = {user: [i for i in instances if i.user_id == user] for user in ids}
    dealt = [{user: own[user][turn::rounds] for user in ids if own[user][turn::rounds]} for turn in range(rounds)]
    return [[i for user in group for i in parts[user]] for parts in dealt for group in _groups(list(parts), users)]


def _groups(ids: Sequence[str], users: int) -> Iterator[Sequence[str]]:
    """So many at a time. The last group takes what is left, unless that is less than half: then it joins the one
    before.
    """
    starts = list(range(0, len(ids), users))
    if len(starts) > 1 and 2 * (len(ids) - starts[-1]) < users:
        starts.pop()
    return (ids[start:end] for start, end in pairwise([*starts, len(ids)]))
