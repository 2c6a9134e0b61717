"""``python -m hyperalign_dspy``: the command line."""

from __future__ import annotations

from hyperalign_dspy.cli.main import main

if __name__ == "__main__":
    main()
