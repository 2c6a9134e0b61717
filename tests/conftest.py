"""Every test has its own home: no test sees the user's runs, shelf or keys."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from hyperalign_dspy.lm import models
from hyperalign_dspy.lm.connect import KEYS

CORPORA = Path(os.environ.get("HYPERALIGN_CORPORA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))
    for name in ["HYPERALIGN_SHELF", "HYPERALIGN_RUNS", "HYPERALIGN_PRICES", *KEYS.values()]:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def heard() -> None:
    """Optuna's relational storage sets logging up anew and silences every logger that is there already."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.fixture(scope="session")
def weights() -> Path:
    """The embedded model's weights, fetched once."""
    return models.ensure(lambda done, total: None)


@pytest.fixture
def corpora() -> Path:
    if not CORPORA.is_dir():
        pytest.skip("the outside corpora are not here; set HYPERALIGN_CORPORA")
    return CORPORA
