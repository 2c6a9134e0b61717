"""OpenAI chat messages as templates, with settings and the answers' parsers, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping

from hyperalign_dspy.export.document import document
from hyperalign_dspy.shelf.files import dump
from hyperalign_dspy.shelf.frozen import Frozen


class Messages:
    """One JSON file, for any language: it says itself how it is read."""

    def files(self, frozen: Frozen) -> Mapping[str, str]:
        """messages.json."""
        return {"messages.json": dump(document(frozen))}
