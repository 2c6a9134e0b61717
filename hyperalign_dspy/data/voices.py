"""The bundled corpus: 48 invented people, each answering the same 16 requests in their own way.

All texts were written for this package, one by one; the people do not exist. Since everybody answers the same requests,
what a text is about says nothing about who wrote it. The voices are more distinct than those of real people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hyperalign_dspy.types import Corpus, Sample, User

BUNDLED = "bundled"
_FILE = Path(__file__).parent / "bundled" / "voices.jsonl"


@lru_cache(maxsize=1)
def bundled_corpus() -> Corpus:
    """48 users x 16 samples; a sample's group is its topic."""
    samples: dict[str, list[Sample]] = {}
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        samples.setdefault(row["user"], []).append(Sample(row["text"], row["request"], row["topic"]))
    users = tuple(User(user_id, tuple(found)) for user_id, found in sorted(samples.items()))
    return Corpus(BUNDLED, users, digest_of(users), public=True)


def digest_of(users: Sequence[User]) -> str:
    """SHA-256 over users and samples, the same wherever the texts were read from."""
    return digest_of_rows([[user.user_id, [[s.text, s.request, s.group] for s in user.samples]] for user in users])


def digest_of_rows(rows: Sequence[Any]) -> str:
    """SHA-256 over plain data."""
    return hashlib.sha256(json.dumps(rows, ensure_ascii=True).encode()).hexdigest()
