"""What all of these tests need: no price list is fetched, and processes that start quickly."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.context import ForkServerContext

import pytest

from tests.resume.project import Calm, context, undisturbed


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServerContext]:
    """Starts processes that have everything imported already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        yield context()


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory, forks: ForkServerContext) -> Calm:
    """The run that all others have to equal."""
    return undisturbed(tmp_path_factory.mktemp("calm") / "project", forks)
