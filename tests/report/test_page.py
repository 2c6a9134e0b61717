"""The page of a run: whole, true to the result, safe whatever a text holds, and there for a run that is not done."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hyperalign_dspy.experiment.confirm import BASELINE, COMPILED, EQUAL, ArmRow, Confirmation, write_outputs
from hyperalign_dspy.files import write_json
from hyperalign_dspy.metrics.stats import Agreement, Estimate
from hyperalign_dspy.report.page import run_page
from hyperalign_dspy.report.run_view import Story
from hyperalign_dspy.report.table import verdict_words
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import Asked, Score
from hyperalign_dspy.types import Cost

HOSTILE = "</p><script>alert('&amp;')</script><img src=http://evil.example/x.png onerror=\"x()\">\x00\u202e"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, text and attributes of a page; refuses what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def estimate(mean: float, half: float = 1.0) -> Estimate:
    return Estimate(mean, mean - half, mean + half, 16, 32)


def row(name: str, gap: float, harm: Estimate | None = None) -> ArmRow:
    return ArmRow(
        name=name,
        note="",
        drafts=3,
        value=estimate(gap - 5),
        gap=estimate(gap),
        wins=estimate(0.625, 0.125),
        answered=estimate(0.5, 0.25),
        others={"words": estimate(0.25)},
        harm=harm,
        harm_rise=harm,
        rank=0.5,
        accuracy=0.5,
        copied=0.03125,
        longest=9,
        overlap=0.0,
        missing=0,
        cost=Cost(96, 0, 30_000, 5_000, 12.0),
    )


class Case:
    """An instance."""

    def __init__(self, name: str, user: str) -> None:
        self.instance_id, self.user_id = name, user


class Bench:
    """A bench that knows one request."""

    def asked(self, instance: Case) -> Asked:
        return Asked(f"Write to {HOSTILE}", "What I wrote myself.")


def made(folder: Path, texts: int = 6) -> Run:
    """A run's folder before its confirmation."""
    run = Run(folder / "authorship-quick-12345678")
    run.folder.mkdir()
    plan = {"program": "nowhere", "recipe": "quick", "model": HOSTILE, "source": "bundled", "seed": 3}
    command = ["compile", "nowhere", "--data", "my file.csv"]
    write_json(run.path("plan.json"), {**plan, "program_digest": "0", "command": command})
    for number, gap in enumerate([0.5, -0.25, 1.5, 1.0]):
        changes = {"shown_hypotheses": HOSTILE} if number else {"samples": 4}
        run.append("visits.jsonl", {"visit": number, "configuration": changes, "gap": gap})
    for phase in ("search", "search", "confirm:generic"):
        run.append("calls.jsonl", {"phase": phase, "input_tokens": 1000, "output_tokens": None, "seconds": 0.5})
    run.append("calls.jsonl", {"phase": "search", "failed": "ModelError: no"})
    with run.path("calls.jsonl").open("a") as file:
        file.write('{"phase": "sea')
    return run


def finished(run: Run, **more: Any) -> Run:
    """The same run with a result and texts."""
    rows = (row("generic", -0.5), row(BASELINE, 0.125), row(EQUAL, 0.0), row(COMPILED, 2.5))
    confirmation = Confirmation(
        rows,
        "gain",
        {"generic": (estimate(3.0), estimate(0.75, 0.125))},
        {"words": Agreement(estimate(0.5, 0.125), float("nan"))},
    ).as_dict()
    top = {
        "changes": {"shown_hypotheses": "none"},
        "estimate": {"mean": 1.0, "low": 0.5, "high": 1.5},
        "shrunk": 0.75,
        "blocks": 2,
    }
    result = {
        "schema": "hyperalign/result/1",
        "run": run.run_id,
        "plan": {"unit": "log-odds"},
        "changes": {"shown_hypotheses": HOSTILE},
        "confirmation": confirmation,
        "facts": {"judge": {"mrr": {"mean": 0.96}, "ceiling": 4.7, "floor": -11.3}},
        "cost": {},
        "seconds": 61.0,
        "frozen_is": "compiled",
        "top": [top],
        **more,
    }
    write_json(run.path("result.json"), result)
    cases = [Case(f"ann/{n}", "ann") for n in range(6)]
    texts = [Outcome(c, f"A text. {HOSTILE}", Score(-1.5, copied=n == 0)) for n, c in enumerate(cases)]
    write_outputs(run, Bench(), {EQUAL: [*texts[1:], Outcome(cases[0], "", None, "late")], COMPILED: texts})  # type: ignore[arg-type]
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finished(made(tmp_path))


def drawings(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def test_the_page_is_whole_and_every_drawing_says_what_it_shows(run: Run) -> None:
    text = run_page(Story(run))
    page = Page(text)
    assert page.tags.count("h1") == 1
    assert {"caption", "figcaption", "th", "details"} <= set(page.tags)
    drawn = drawings(text)
    assert len(drawn) == 5
    for each in drawn:
        assert each.get("role") == "img"
        assert [part.tag.rpartition("}")[2] for part in list(each)[:2]] == ["title", "desc"]
        assert all("".join(part.itertext()) for part in list(each)[:2])


def test_every_figure_of_the_verdict_and_the_table_stands_on_the_page(run: Run) -> None:
    result = run.result
    assert result is not None
    page = Page(run_page(Story(run))).text
    for figure in re.findall(r"[+-]?\d+\.\d+", verdict_words(result)):
        assert figure in page
    for words in ("GAIN: the compiled program", "+2.50 [+1.50, +3.50]", "0.62 [0.50, 0.75]", "sealed users 16", "4.70"):
        assert words in page
    assert "+3.00 [+2.00, +4.00]" in page
    assert "The last session took 61 s." in page


def test_hostile_texts_stay_texts_and_nothing_is_loaded(run: Run) -> None:
    text = run_page(Story(run))
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert "<script>alert('&amp;')</script><img src=http://evil.example/x.png" in page.text
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} | {"src", "href", "action"} & names
    assert "\x00" not in text
    assert "url(" not in text
    assert "@import" not in text
    for value in (value for name, value in page.attributes if value and "http" in value):
        assert value == "http://www.w3.org/2000/svg"
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes


def test_texts_are_kept_and_shown_side_by_side(run: Run) -> None:
    rows = [json.loads(line) for line in run.path("outputs.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert set(rows[0]) == {"arm", "instance", "user", "request", "reference", "text", "value", "copied", "harm"}
    late = next(r for r in rows if r["text"] == "")
    assert (late["value"], late["copied"], late["harm"]) == (None, None, None)
    page = Page(run_page(Story(run))).text
    assert page.count("The user's own text") == 6
    assert "The other 2 instances" in page
    assert "log-odds -1.50; copies a sample, and so loses" in page
    assert "no answer" in page


def test_half_a_character_is_no_reason_to_lose_a_confirmation(tmp_path: Path) -> None:
    run = made(tmp_path)
    write_outputs(run, Bench(), {COMPILED: [Outcome(Case("a/0", "a"), "cut \ud83d", Score(float("nan")))]})  # type: ignore[arg-type]
    kept = json.loads(run.path("outputs.jsonl").read_text())
    assert (kept["text"], kept["value"]) == ("cut ?", None)


def test_what_a_slot_contributes_is_counted_over_the_visits_that_had_it(run: Run) -> None:
    told = Story(run).contributions["shown_hypotheses"]
    unknown = told["the baseline's"]
    assert unknown == Estimate(0.5, pytest.approx(float("nan"), nan_ok=True), unknown.high, 1, 1)
    assert (told[HOSTILE].mean, told[HOSTILE].n_users) == (0.75, 3)
    assert told[HOSTILE].low < 0.75 < told[HOSTILE].high
    page = Page(run_page(Story(run))).text
    assert "These are not causal" in page
    assert "+0.75, 3 visits" in page


def test_costs_are_summed_by_phase(run: Run) -> None:
    search, confirm = Story(run).phases
    assert search.failed == 1
    assert (search.cost.calls, search.cost.input_tokens, search.cost.seconds) == (2, 2000, 1.0)
    assert confirm.name == "confirm:generic"
    assert (search.cost.money, "unknown" in Page(run_page(Story(run))).text) == (None, True)


def test_money_is_summed_by_phase_as_it_was_paid(tmp_path: Path) -> None:
    run = made(tmp_path)
    paid = {"input_tokens": 1000, "output_tokens": 10, "seconds": 0.5, "money": 0.25}
    lines = [{"phase": phase, **paid} for phase in ("search", "search", "confirm:generic")]
    run.path("calls.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = Page(run_page(Story(run))).text
    assert [text.count(said) for said in ("0.5000", "0.2500", "0.7500", "unknown")] == [1, 1, 1, 0]


def test_a_run_without_a_result_says_so(tmp_path: Path) -> None:
    page = Page(run_page(Story(made(tmp_path)))).text
    assert "Not done: there is no verdict yet." in page
    assert "4 visits and 3 calls are recorded" in page
    assert "hyperalign runs resume authorship-quick-12345678" in page
    assert "Confirmation" not in page


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    run = made(tmp_path)
    run.path("visits.jsonl").unlink()
    run.path("calls.jsonl").unlink()
    assert "0 visits and 0 calls" in Page(run_page(Story(run))).text


def test_harm_several_objectives_and_a_models_opinion_stand_where_they_are(tmp_path: Path) -> None:
    front = [
        {
            "point": 1,
            "changes": {"shown_hypotheses": "none"},
            "objectives": {"value": 1.0, "tokens": 300.0},
            "chosen": True,
        },
        {"point": 0, "changes": {}, "objectives": {"value": 0.0, "tokens": 100.0}, "chosen": False},
    ]
    rows = tuple(replace(row(name, 1.0), harm=estimate(0.5), harm_rise=estimate(0.25)) for name in (EQUAL, COMPILED))
    rows = (replace(rows[0], name=BASELINE), *rows)
    tally = {name: {"mean": 0.5, "low": 0.4, "high": 0.6, "n_instances": 30} for name in ("wins", "flips")}
    llm_judge = {
        "model": "some/model",
        "purpose": "helpfulness",
        "qualified": False,
        "agreement": None,
        "same_family": False,
        "tally": {**tally, "length_controlled": tally["wins"], "abstained": 0.1},
        "grades": None,
    }
    confirmation = Confirmation(rows, "harm not excluded", {}, {}).as_dict()
    run = finished(
        made(tmp_path),
        pareto=front,
        facts={"harm": "compliance"},
        confirmation={**confirmation, "llm_judge": llm_judge},
    )
    text = run_page(Story(run))
    page = Page(text).text
    assert "HARM NOT EXCLUDED" in page
    assert "Rise of harm of every arm" in page
    assert "some/model as judge of helpfulness" in page
    assert "The Pareto set" in page
    assert "value against tokens" in page
    assert "What an answer is held against" in page
    assert len(drawings(text)) == 6
