"""Every test has its own home: no test sees the user's runs, shelf or keys."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from hyperalign_dspy.lm import models
from hyperalign_dspy.lm.models import KEYS
from hyperalign_dspy.metrics import panel, style

CORPORA = Path(os.environ.get("HYPERALIGN_CORPORA") or Path(__file__).parents[2] / "shared" / "data")


# Whoever runs beside others is slow now and then.
settings.register_profile("beside", deadline=None)
settings.load_profile("beside")


def pytest_configure(config: pytest.Config) -> None:
    """Tests that run beside others (`pytest -n 2`) have a core of their own: the embedded model takes all it finds."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))
    for name in ["HYPERALIGN_SHELF", "HYPERALIGN_RUNS", "HYPERALIGN_PRICES", *KEYS.values()]:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def heard() -> None:
    """Optuna's relational storage, which its own suite opens, sets logging up anew and silences all loggers."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.fixture(scope="session", autouse=True)
def fitted_once() -> Iterator[None]:
    """A verifier depends on its family, its texts and its seed alone, so tests share those that take seconds to fit.

    The test of just that, and those of the verifiers themselves, fit `afresh`.
    """
    kept: dict[str, style.StyleVerifier] = {}

    def fit(name: str, classifier: Any, texts_by_user: Mapping[str, Sequence[str]], seed: int) -> style.StyleVerifier:
        key = json.dumps([name, {user: list(texts) for user, texts in texts_by_user.items()}, seed], sort_keys=True)
        if key not in kept:
            kept[key] = style.fit(name, classifier, texts_by_user, seed)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panel, "fit", fit)
        yield


@pytest.fixture
def afresh(fitted_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel, "fit", style.fit)


@pytest.fixture(scope="session")
def weights() -> Path:
    """The embedded model's weights, fetched once."""
    return models.pull(lambda done, total: None)


@pytest.fixture
def corpora() -> Path:
    if not CORPORA.is_dir():
        pytest.skip("the outside corpora are not here; set HYPERALIGN_CORPORA")
    return CORPORA
