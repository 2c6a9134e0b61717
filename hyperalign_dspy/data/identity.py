"""What makes two corpora the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from hyperalign_dspy.types import User


def digest_of(users: Sequence[User]) -> str:
    """SHA-256 over users and samples, the same wherever the texts were read from."""
    return digest_of_rows([[user.user_id, [[s.text, s.request, s.group] for s in user.samples]] for user in users])


def digest_of_rows(rows: Sequence[Any]) -> str:
    """SHA-256 over plain data."""
    return hashlib.sha256(json.dumps(rows, ensure_ascii=True).encode()).hexdigest()
