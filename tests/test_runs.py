"""Run folders are their owner's alone."""

from __future__ import annotations

import stat

from hyperalign_dspy.judges.llm_judge import judge_folder
from hyperalign_dspy.runs import folder_for, home


def test_nobody_else_may_enter_what_holds_peoples_texts() -> None:
    for folder in (folder_for("batch-1"), home(), judge_folder()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
