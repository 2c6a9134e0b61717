"""OpenAI chat messages as templates, with settings and the answers' parsers, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hyperalign_dspy.artifacts.export.document import document
from hyperalign_dspy.artifacts.frozen import Frozen


class Messages:
    """One JSON file, for any language: it says itself how it is read."""

    def files(self, frozen: Frozen) -> Mapping[str, str]:
        """messages.json."""
        # In the order of the document: a model held to a schema writes its properties in the order given.
        return {"messages.json": json.dumps(document(frozen), ensure_ascii=False, indent=2) + "\n"}
