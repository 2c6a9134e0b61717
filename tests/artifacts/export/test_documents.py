"""What is exported sends the very bytes that the live program sends, and makes the same of the answers."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperalign_dspy.artifacts.export.bundle import flatten
from hyperalign_dspy.artifacts.export.document import document_of
from hyperalign_dspy.artifacts.export.formats import exported, write_export
from hyperalign_dspy.artifacts.export.runtime import deliberate, write_as
from hyperalign_dspy.artifacts.frozen import load_frozen
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.program.adapters import adapter
from tests.artifacts.export.programs import PROGRAMS, SHAPES, from_document, live, said, samples, shaped, texts

WRITERS = [shape for shape, (program, _) in SHAPES.items() if program == "authorship"]
EXAMPLES = pytest.mark.parametrize("examples", [10, pytest.param(300, marks=pytest.mark.evidence)])
ANSWERERS = [shape for shape in SHAPES if shape not in WRITERS]


@cache
def documented(shape: str) -> Any:
    """The document as a stranger reads it: from its JSON text."""
    return json.loads(exported(shaped(shape), "messages")["messages.json"])


@EXAMPLES
@pytest.mark.parametrize("shape", WRITERS)
def test_a_writer_sends_the_same_bytes_and_keeps_the_same_draft(shape: str, examples: int) -> None:
    frozen, program = shaped(shape), documented(shape)

    @given(samples, said)
    @settings(max_examples=examples, deadline=None, database=None)
    def same(given_samples: Any, request: str) -> None:
        sent, made = live(frozen, samples=given_samples, request=request)
        found, kept = from_document(frozen, lambda ask: write_as(program, ask, given_samples, request))
        assert found == sent
        if made != "refused":
            made = {**made, "hypotheses": [asdict(hypothesis) for hypothesis in made["hypotheses"]]}
        assert kept == made

    same()


@EXAMPLES
@pytest.mark.parametrize("shape", ANSWERERS)
def test_an_answerer_sends_the_same_bytes(shape: str, examples: int) -> None:
    frozen, program = shaped(shape), documented(shape)

    @given(st.lists(st.tuples(texts, texts), max_size=3), samples | st.just([]), said)
    @settings(max_examples=examples, deadline=None, database=None)
    def same(known: Any, given_samples: Any, request: str) -> None:
        attributes = dict(known)
        sent, made = live(frozen, request=request, attributes=attributes, samples=given_samples)
        told = [f"{name}: {value}" for name, value in attributes.items()]
        found, kept = from_document(frozen, lambda ask: deliberate(program, ask, request, told, given_samples))
        assert (found, kept) == (sent, made)

    same()


@pytest.mark.parametrize("name", ["authorship", "deliberative"])
def test_the_shipped_programs_can_be_exported(name: str) -> None:
    frozen = load_frozen(PROGRAMS / name / "frozen" / "local")
    for form in ("messages", "script", "dspy", "promptfoo", "hub"):
        assert exported(frozen, form)


def test_a_document_says_how_it_is_read_and_what_it_is(tmp_path: Path) -> None:
    frozen = load_frozen(PROGRAMS / "authorship" / "frozen" / "local")
    (path,) = write_export(exported(frozen, "messages"), tmp_path)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["schema"] == "hyperalign/messages/1"
    assert found["manifest_sha256"] == frozen.manifest["manifest_sha256"]
    assert found["stages"]["generate.write"]["settings"] == {"temperature": 0.7, "max_tokens": 48}
    assert "never read for anything else" in " ".join(found["how"])


def test_a_documents_stages_are_as_they_were_agreed_on() -> None:
    golden = Path(__file__).parent / "stages.json"
    found = {name: documented(name)["stages"] for name in ("writes after a demonstration", "answers by xml")}
    assert found == json.loads(golden.read_text(encoding="utf-8"))
    # A model that is held to a schema writes its properties in this order.
    schema = documented("writes from all")["stages"]["infer.read"]["held_to"]["response_format"]["json_schema"][
        "schema"
    ]
    assert list(schema["properties"]) == ["style", "personality", "communication"]


class Shouting:
    """An adapter that does to values what no template can say."""

    def format(self, signature: Any, demos: Any, inputs: dict[str, Any]) -> Any:
        rows = adapter("turns").format(signature, demos, inputs)
        return [{**row, "content": row["content"].replace('"', "''")} for row in rows]


class Leaving(Shouting):
    """An adapter that leaves an input out."""

    def format(self, signature: Any, demos: Any, inputs: dict[str, Any]) -> Any:
        return adapter("turns").format(signature, demos, inputs)[:-1]


@pytest.mark.parametrize("strange", [Shouting, Leaving])
def test_what_no_template_can_say_is_refused(strange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperalign_dspy.artifacts.export.document.speaker", lambda *_: strange())
    with pytest.raises(UsageError, match=r"no template"):
        document_of(shaped("writes from samples"))


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    files = exported(load_frozen(PROGRAMS / "authorship" / "frozen" / "local"), "dspy")
    with pytest.raises(UsageError, match=r"mine\.txt"):
        write_export(files, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    write_export(files, tmp_path / "new")
    write_export(files, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "new"]


def test_a_flat_file_cannot_hold_two_things_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "hyperalign_dspy_pair"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text(
        "import re\n\n# why\nX = re.compile('a')\n\n\ndef f(text):\n    return X.match(text)\n"
    )
    (package / "two.py").write_text(
        "from hyperalign_dspy_pair.one import f\n\nX = 2\n\n\ndef g():\n    return f('a'), X\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "# why\nX = re.compile('a')" in flatten("hyperalign_dspy_pair.one", "f")
    with pytest.raises(UsageError, match="both define X"):
        flatten("hyperalign_dspy_pair.two", "g")
    with pytest.raises(UsageError, match="defines no h"):
        flatten("hyperalign_dspy_pair.two", "h")


@pytest.mark.parametrize("shape", SHAPES)
def test_no_two_exports_of_a_program_differ(shape: str) -> None:
    assert document_of(shaped(shape)) == document_of(shaped(shape))
