"""Blocks: fixed, seeded groups of instances that every configuration meets in the same order."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hyperalign_dspy.tasks.protocol import HasUser


def make_blocks(instances: Sequence[HasUser], users: int, seed: int) -> list[list[HasUser]]:
    """Deal instances into blocks of up to ``users`` users, all of a user's instances in one block.

    The last block takes what is left, unless that is less than half a block: then it joins the one before.
    """
    ids = sorted({instance.user_id for instance in instances})
    random.Random(f"{seed}:blocks").shuffle(ids)
    groups = [ids[start : start + users] for start in range(0, len(ids), users)]
    if len(groups) > 1 and 2 * len(groups[-1]) < users:
        groups[-2:] = [groups[-2] + groups[-1]]
    return [[i for user in group for i in instances if i.user_id == user] for group in groups]
