"""Each format in the hands of its real reader: the openai client, a bare Python, plain DSPy, the Hub's client."""

from __future__ import annotations

import ast
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import openai
import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard
from hypothesis import given, settings

from hyperalign_dspy.artifacts.export.document import HOSTILE
from hyperalign_dspy.artifacts.export.formats import exported, upload, write_export
from hyperalign_dspy.artifacts.export.runtime import read_texts, render, written
from hyperalign_dspy.artifacts.frozen import Frozen, freeze, load_frozen, verify
from hyperalign_dspy.cli.programs import export_command
from hyperalign_dspy.data.load import read_samples
from hyperalign_dspy.errors import DataError, GateFailed, MissingKey, UsageError
from hyperalign_dspy.lm.connect import connect
from hyperalign_dspy.program.adapters import adapter
from hyperalign_dspy.program.configuration import new_module
from hyperalign_dspy.types import Sample
from tests.artifacts.export.chat_server import ChatServer
from tests.artifacts.export.hub_server import HubServer
from tests.artifacts.export.programs import PROGRAMS, live, said, samples, shaped
from tests.artifacts.test_frozen import provenance

TEXTS = [text for text in HOSTILE if text.strip()]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    with ChatServer() as running:
        for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
            monkeypatch.setenv(name, running.address)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")
        # Nobody waits for a price list that is on no registry.
        monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        yield running


def shipped(name: str) -> Frozen:
    return load_frozen(PROGRAMS / name / "frozen" / "local")


def by_live(server: ChatServer, frozen: Frozen, **inputs: Any) -> tuple[list[Any], Any]:
    with dspy.context(lm=connect("openai/small"), disable_history=True):
        made = frozen.module(**inputs)
    return server.heard(), made


def run_script(folder: Path, frozen: Frozen, *words: str) -> Any:
    """What the exported script prints, in a Python that sees neither this package nor the current folder."""
    (path,) = write_export(exported(frozen, "script"), folder)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-I", str(path), "--model", "small", "--json", *words]
    return json.loads(subprocess.check_output(command, text=True, env=env, cwd="/"))


def test_the_script_needs_openai_and_the_standard_library_alone() -> None:
    for name in ("authorship", "deliberative"):
        ((_, text),) = exported(shipped(name), "script").items()
        nodes = list(ast.walk(ast.parse(text)))
        modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        assert {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) == {"openai"}
        assert "hyperalign_dspy." not in text.replace("hyperalign_dspy.artifacts.export", "")


def test_the_script_sends_what_the_live_program_sends_and_keeps_what_it_keeps(
    tmp_path: Path, server: ChatServer
) -> None:
    frozen = shaped("writes from samples")
    shown = [Sample(text, request) for text, request in zip(TEXTS, reversed(TEXTS), strict=True)][4:8]
    rows = [{"text": sample.text, "request": sample.request} for sample in shown]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shown = list(read_samples(tmp_path / "samples.jsonl"))
    sent, made = by_live(server, frozen, samples=shown, request=TEXTS[2])
    found = run_script(tmp_path, frozen, "--samples", str(tmp_path / "samples.jsonl"), "--request", TEXTS[2])
    ours = server.heard()
    assert [body["messages"] for body in ours] == [body["messages"] for body in sent]
    assert len(ours) == 2
    for name in ("temperature", "seed"):
        assert [body[name] for body in ours] == [body[name] for body in sent]
    assert (found["text"], found["drafts"]) == (made.text, made.drafts)
    assert [h["text"] for h in found["hypotheses"]] == [h.text for h in made.hypotheses]


def test_the_script_of_an_answerer_asks_all_its_stages(tmp_path: Path, server: ChatServer) -> None:
    frozen = shaped("answers after weighing")
    known = {"occupation": "nurse, {night}", "age": "<|im_end|>"}
    sent, made = by_live(server, frozen, request=TEXTS[1], attributes=known)
    words = [word for name, value in known.items() for word in ("--known", f"{name}={value}")]
    found = run_script(tmp_path, frozen, *words, "--request", TEXTS[1])
    ours = server.heard()
    assert [body["messages"] for body in ours] == [body["messages"] for body in sent]
    assert len(ours) == 3
    assert list(ours[0]["response_format"]["json_schema"]["schema"]["properties"]) == ["person", "purpose"]
    assert found == {"text": made.text, "hypotheses": made.hypotheses, "deliberation": made.deliberation}


def test_the_script_says_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    (path,) = write_export(exported(shipped("authorship"), "script"), tmp_path)
    for words in (
        ["--request", "x"],
        ["--request", " ", "--samples", str(path)],
        ["--samples", "/no", "--request", "x"],
    ):
        done = subprocess.run(
            [sys.executable, "-I", str(path), "--model", "m", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


ODD_SAMPLES = {
    "bom.txt": b"\xef\xbb\xbfRain again.\r\nFine.\n",
    "body.jsonl": b'\xef\xbb\xbf{"body": " Rain. ", "title": "Of rain"}\n\n{"body": "e\xcc\x81"}\r\n{"body": null}\n',
    "UPPER.JSONL": b'{"content": 0}',
    "folder/b.txt": b"\xef\xbb\xbfSoup.",
    "folder/a.md": b"Salt.\r",
    "folder/c.csv": b"text\nno",
    "empty.txt": b" \n",
    "none.jsonl": b"",
    "string.jsonl": b'"a text"\n',
    "broken.jsonl": b'{"text": "a"}\n{"text": \n',
    "later.jsonl": b'{"text": "a"}\n{"body": "b"}\n',
    "other.jsonl": b'{"words": "a"}\n',
    "latin.txt": b"caf\xe9",
    "zero.txt": b"a\0b",
}


def test_the_script_reads_samples_as_run_does(tmp_path: Path) -> None:
    for name, data in ODD_SAMPLES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    read = 0
    for place in sorted(tmp_path.iterdir()):
        try:
            wanted = list(read_samples(place))
        except DataError:
            with pytest.raises(ValueError, match=place.name):
                read_texts(place)
        else:
            read += 1
            assert read_texts(place) == wanted
    assert read == 4
    for name in ("a.csv", "b.json", "c"):
        (tmp_path / name).write_text("text\na\n")
        with pytest.raises(ValueError, match=r"give a \.txt, \.md or \.jsonl file"):
            read_texts(tmp_path / name)


@pytest.mark.parametrize("address", ["http://[::1", "http://a:port", "localhost:80", "http://", "http://a\n"])
def test_an_address_that_cannot_be_one_is_said_in_a_line(
    address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("Rain.")
    (path,) = write_export(exported(shipped("authorship"), "script"), tmp_path)
    words = ["--request", "x", "--samples", str(tmp_path), "--model", "m", "--base-url", address]
    monkeypatch.setattr(sys, "argv", [str(path), *words])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(path), run_name="__main__")
    assert left.value.code == 2
    assert "is no server's address" in capsys.readouterr().err


@pytest.mark.evidence
def test_a_server_that_is_not_there_is_said_in_a_line(tmp_path: Path) -> None:
    (path,) = write_export(exported(shipped("deliberative"), "script"), tmp_path)
    words = ["--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--request", "x"]
    done = subprocess.run([sys.executable, "-I", str(path), *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("http://127.0.0.1:9/v1/: ")


def test_the_openai_client_sends_the_messages_of_the_document(tmp_path: Path, server: ChatServer) -> None:
    frozen = shipped("authorship")
    (path,) = write_export(exported(frozen, "messages"), tmp_path)
    program = json.loads(path.read_text(encoding="utf-8"))
    client = openai.OpenAI(api_key="none")
    for text in TEXTS:
        sent, _ = by_live(server, frozen, samples=[Sample(text.strip(), text)], request=text)
        stage = program["stages"]["generate.write"]
        given = {"request": text, "samples": [{"text": text.strip(), "request": text}]}
        client.chat.completions.create(model="small", messages=written(program, given), **stage["settings"])  # type: ignore[arg-type]
        assert server.heard()[0]["messages"] == sent[0]["messages"]


@pytest.mark.parametrize("shape", ["writes from all", "writes by xml", "answers after weighing"])
def test_plain_dspy_loads_the_state_into_the_module(shape: str, tmp_path: Path) -> None:
    frozen = shaped(shape)
    write_export(exported(frozen, "dspy"), tmp_path / "out")
    place, _, name = frozen.manifest["module"].partition(":")
    plain = getattr(__import__(place, fromlist=[name]), name)()
    plain.load(str(tmp_path / "out" / "program.json"))
    loaded = Frozen(plain, frozen.manifest, tmp_path)

    @given(samples, said)
    @settings(max_examples=8, deadline=None, database=None)
    def same(given_samples: Any, request: str) -> None:
        inputs = {"samples": given_samples, "request": request}
        assert live(loaded, **inputs) == live(frozen, **inputs)

    same()


class Mood(dspy.Module):
    """A module that knows nothing of this package."""

    def __init__(self) -> None:
        super().__init__()
        self.tell = dspy.ChainOfThought("message, place -> mood")

    def forward(self, message: str, place: str) -> Any:
        return self.tell(message=message, place=place)


def moods(folder: Path, adapter_name: str) -> Frozen:
    values = {"adapter": adapter_name, "temperature": 0.2, "max_tokens": 9}
    made = provenance(values)
    program = type(made.program)("moods", "Tells.", "examples", f"{__name__}:Mood", "x.jsonl", inputs=("message",))
    module = new_module(program.module)
    module.settings.value = module.settings.value.changed(**values)
    return load_frozen(freeze(module, type(made)(**{**vars(made), "program": program}), folder / "frozen"))


@pytest.mark.parametrize("name", ["turns", "chat", "json", "xml"])
def test_a_module_of_ones_own_is_exported_as_messages_and_for_dspy(name: str, tmp_path: Path) -> None:
    frozen = moods(tmp_path, name)
    program = json.loads(exported(frozen, "messages")["messages.json"])
    write_export(exported(frozen, "dspy"), tmp_path / "out")
    plain = Mood()
    plain.load(str(tmp_path / "out" / "program.json"))
    (stage,) = program["stages"].values()
    for text in ("plain", '{"a": "{{b}}"}\n\n<c>'):
        values = {"message": text, "place": f"x{text}"}
        signature = plain.tell.predict.signature
        assert render(stage, values) == adapter(name).format(signature, [], values)
    for form in ("script", "promptfoo"):
        with pytest.raises(UsageError, match="code of its own"):
            exported(frozen, form)
    assert "messages.json" in exported(frozen, "hub")


def test_a_hub_folder_has_a_card_and_is_a_frozen_program(tmp_path: Path) -> None:
    frozen = shipped("authorship")
    write_export(exported(frozen, "hub"), tmp_path / "hub")
    found = ModelCard.load(tmp_path / "hub" / "README.md")
    assert found.data.library_name == "dspy"
    assert "authorship" in (found.data.tags or [])
    assert "the compiled program does better than the baseline" in found.text
    # Who downloads it has a folder, and nothing on a shelf.
    assert "hyperalign verify ./FOLDER" in found.text
    assert 'load_frozen("FOLDER")' in found.text
    assert not [word for word in ("find_frozen", "hyperalign run", "hyperalign show") if word in found.text]
    assert load_frozen(tmp_path / "hub").manifest == frozen.manifest
    assert "refused" not in {check.state for check in verify(tmp_path / "hub")[0]}


def test_nothing_is_uploaded_without_the_flag_and_all_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(PROGRAMS / "authorship" / "frozen" / "local")
    with HubServer() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", "hf_nobody")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        done = CliRunner().invoke(export_command, [folder, "--to", "hub"], catch_exceptions=False)
        assert done.exit_code == 0
        assert hub.asked == []
        words = [folder, "--to", "hub", "--out", str(tmp_path / "hub"), "--upload", "me/mine", "--json"]
        done = CliRunner().invoke(export_command, words, catch_exceptions=False)
        assert json.loads(done.stdout)["uploaded"].endswith("me/mine")
    assert hub.made == {"name": "mine", "organization": "me", "visibility": "private"}
    assert hub.files == {p.name: p.read_bytes() for p in (tmp_path / "hub").iterdir()}


def test_private_texts_bad_names_and_missing_tokens_are_not_uploaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = shipped("authorship").manifest
    with pytest.raises(GateFailed, match="not public"):
        upload(tmp_path, "me/mine", {**manifest, "embedded_texts": {"demonstrations": 1, "private": True}})
    with pytest.raises(UsageError, match="repository"):
        upload(tmp_path, "me//mine!", manifest)
    with HubServer(status=401) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        with pytest.raises(MissingKey, match="token"):
            upload(tmp_path, "me/mine", manifest)
    with pytest.raises(UsageError, match="hub"):
        CliRunner().invoke(
            export_command, ["authorship", "--to", "messages", "--upload", "a/b"], catch_exceptions=False
        )
