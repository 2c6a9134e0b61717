"""Where errors become messages: what a user can mend is one screen; our own mistakes keep their traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperalign_dspy.cli.main import cli
from hyperalign_dspy.errors import DataError
from tests.cli.test_main_job import Inside, inside
from tests.resume.server import Server, Trouble

__all__ = ["inside"]

RUN = ("run", "--model", "openai/small", "--samples", "a.txt", "--request", "Write.")
CHECK = ("doctor", "--model", "openai/small")


@pytest.mark.parametrize("words", [RUN, CHECK], ids=["run", "doctor"])
def test_what_a_provider_refuses_is_said_without_a_traceback(
    words: tuple[str, ...], tmp_path: Path, inside: Inside
) -> None:
    (tmp_path / "a.txt").write_text("Rain again. Fine. We walk anyway!")
    with Server(lambda number: Trouble(401)) as server:
        reply = inside(*words, cwd=tmp_path, **server.environment)
    assert (reply.returncode, reply.stdout) == (1, "")
    assert "not now" in reply.stderr
    assert "Traceback" not in reply.stderr


def test_a_name_that_no_file_can_have_is_said(tmp_path: Path, inside: Inside) -> None:
    long = "a" * 300
    for words in (
        ("compile", "--data", long),
        ("judge", "qualify", "--data", long),
        ("run", "--samples", long, "--request", "x"),
    ):
        reply = inside(*words, cwd=tmp_path)
        assert (reply.returncode, "longer than a file's name" in reply.stderr) == (2, True), words


def test_an_answer_that_cannot_be_read_is_said(tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.resume.server.text_of", lambda body: "")
    with Server() as server:
        reply = inside(*CHECK, cwd=tmp_path, **server.environment)
    assert (reply.returncode, "AdapterParseError" in reply.stderr) == (1, True)


def test_a_mistake_of_ours_is_not_taken_for_what_came_before_it(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*args: object, **keywords: object) -> None:
        try:
            raise DataError("a file that cannot be read")
        except DataError:
            raise KeyError("text") from None

    monkeypatch.setattr(cli, "main", mistaken)
    with pytest.raises(KeyError):
        inside("list", cwd=tmp_path)
