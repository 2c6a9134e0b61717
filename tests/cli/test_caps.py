"""Caps from the command line, on the scripted model: estimates first, never above, and an honest exit code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from dspy.lm15 import Request

from hyperalign_dspy.artifacts.frozen import load_frozen
from hyperalign_dspy.errors import BudgetReached
from hyperalign_dspy.lm import connect as connecting
from hyperalign_dspy.lm import ledger as recording
from hyperalign_dspy.lm.scripted import ScriptedEngine, _scripted
from tests.cli.test_main_job import SMALL, Inside, inside, measured, rows, small

__all__ = ["inside", "small"]

PRICES = '["openai/small"]\ninput = 0.25\noutput = 2.0\n'
PRICED = ("compile", "--model", "openai/small", "--data", "small.jsonl", "--recipe", "small")


def test_a_capped_run_confirms_what_it_has_and_a_higher_cap_goes_on_to_the_same_end(
    small: Path, inside: Inside
) -> None:
    (small / "programs").mkdir()
    caps: tuple[str, ...] = ()
    least = {}
    for kind in ("calls", "tokens"):
        refused = inside(*SMALL, *caps, "--max", f"{kind}=100", cwd=small)
        assert (refused.returncode, "confirmation alone" in refused.stderr) == (2, True)
        least[kind] = int(re.search(rf"at least --max {kind}=(\d+)", refused.stderr)[1])  # type: ignore[index]
        caps += ("--max", f"{kind}={least[kind]}")
    reply = inside(*SMALL, *caps, "--json", cwd=small)
    capped = json.loads(reply.stdout)
    assert (reply.returncode, capped["capped"]) == (4, True), reply.stderr
    assert "--max calls leaves no room for another visit" in reply.stderr
    assert len(rows(small)) <= least["calls"]
    assert sum(row["input_tokens"] + row["output_tokens"] for row in rows(small)) <= least["tokens"]
    assert load_frozen(small / "programs/authorship/frozen/scripted")
    run = next(small.glob(".hyperalign/runs/*/result.json"))
    assert json.loads(run.read_text())["capped"] is True
    assert "CAPPED" in inside("runs", "show", run.parent.name, cwd=small).stdout
    assert inside("runs", "resume", run.parent.name, cwd=small).returncode == 4
    more = inside(*SMALL, "--max", "tokens=9000000", "--max", "time=2h", "--max", "cost=1", "--json", cwd=small)
    resumed = json.loads(more.stdout)
    # Fewer visits tell less apart.
    told = [float(re.search(r"that differ by ([\d.]+)", r.stderr)[1]) for r in (reply, more)]  # type: ignore[index]
    assert told[0] > 1.5 * told[1]
    shutil.rmtree(small / ".hyperalign")
    whole = json.loads(inside(*SMALL, "--json", cwd=small).stdout)
    assert (more.returncode, resumed["run"], resumed["capped"]) == (0, capped["run"], False)
    assert measured(resumed) == measured(whole)


class Impatient(ScriptedEngine):
    """From its ``last``-th call of the search on there is no time for it: the provider wants too long a pause."""

    def __init__(self, last: int) -> None:
        super().__init__(self.reply)
        self.left = last

    def reply(self, request: Request) -> str:
        if recording._PHASE.get() == "search":
            self.left -= 1
            if self.left < 0:
                raise BudgetReached("at its rate limit", fix="Go on later.")
        return _scripted(request)


def test_a_cap_that_a_call_of_the_search_meets_ends_it_and_what_was_found_is_confirmed(
    small: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = [Impatient(42), Impatient(10**6), Impatient(10**6)]
    monkeypatch.setattr(connecting, "_engine_of", lambda name, ledger: engines[0])
    (small / "programs").mkdir()
    capped = (*SMALL, "--max", "time=1h", "--json")
    reply = inside(*capped, cwd=small)
    found = json.loads(reply.stdout)
    assert (reply.returncode, found["capped"]) == (4, True), reply.stderr
    assert "kept for the confirmation" in reply.stderr
    assert load_frozen(small / "programs/authorship/frozen/scripted")
    paid = len(rows(small))
    # The provider has time again, and the search has ended all the same: the confirmation has seen the sealed users.
    engines.pop(0)
    again = json.loads(inside(*capped, cwd=small).stdout)
    assert (len(rows(small)), engines[0].calls) == (paid, 0)
    assert (measured(again), again["capped"], again["top"]) == (measured(found), True, found["top"])
    engines.pop(0)
    more = inside(*SMALL, "--max", "time=2h", "--json", cwd=small)
    assert (more.returncode, json.loads(more.stdout)["capped"]) == (0, False)
    assert engines[0].calls > 0


def test_a_pilot_that_meets_a_cap_confirms_nothing(
    small: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "_engine_of", lambda name, ledger: Impatient(5))
    reply = inside(*SMALL, "--max", "time=1h", cwd=small)
    assert (reply.returncode, len(rows(small))) == (4, 5)
    assert not list(small.glob(".hyperalign/runs/*/result.json"))


def test_a_plan_says_what_a_cap_leaves_to_an_optimiser(small: Path, inside: Inside) -> None:
    words = (*SMALL, "--optimizer", "copro", "--plan", "--json")
    free = json.loads(inside(*words, cwd=small).stdout)["plan"]
    assert free["optimizer_calls"] is None
    reply = inside(*words, "--max", f"calls={free['confirm_calls'] + 1000}", cwd=small)
    left = json.loads(reply.stdout)["plan"]["optimizer_calls"]
    assert 900 < left < 1000
    assert f"After the pilot, {left} calls are the optimiser's beside the confirmation." in reply.stderr
    assert re.search(r"Estimates for the confirmation: [\d,]+ tokens in, [\d,]+ out, at no cost", reply.stderr)
    assert "visits" not in reply.stderr


def test_a_run_that_is_out_of_time_keeps_what_it_has_and_says_what_raises_the_cap(small: Path, inside: Inside) -> None:
    slow = ("compile", "--model", "scripted:delay=40", *SMALL[3:], "--max", "time=0.5s")
    reply = inside(*slow, cwd=small)
    assert reply.returncode == 4
    assert "--max time=AMOUNT" in reply.stderr
    assert rows(small)
    assert inside(*slow, cwd=small).returncode == 4
    assert sum(row["seconds"] for row in rows(small)) / 4 < 0.6


def test_a_cap_on_money_wants_a_price_before_anything_is_paid(
    small: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    refused = inside(*PRICED, "--max", "cost=2", cwd=small)
    assert (refused.returncode, '["openai/small"]' in refused.stderr) == (2, True)
    assert "data-home/hyperalign/prices.toml" in refused.stderr
    assert not list(small.glob(".hyperalign/runs/*"))
    (small / "bad.toml").write_text("openai = 3\n")
    bad = inside("--prices", "bad.toml", *PRICED, "--max", "cost=2", cwd=small)
    assert (bad.returncode, "no price" in bad.stderr) == (2, True)


def test_a_plan_estimates_calls_tokens_money_and_time_and_calls_nothing(
    small: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    blind = inside(*PRICED, "--plan", cwd=small).stderr
    assert "cost unknown, time unknown before the pilot" in blind
    assert "No cap is set." in blind
    (small / "prices.toml").write_text(PRICES)
    monkeypatch.setenv("HYPERALIGN_PRICES", "prices.toml")
    plan = json.loads(inside(*PRICED, "--plan", "--json", cwd=small).stdout)["plan"]
    assert plan["money"] == pytest.approx((plan["input_tokens"] * 0.25 + plan["output_tokens"] * 2) / 1e6, rel=1e-3)
    assert (plan["time"], plan["paid_visits"]) == (None, plan["visits"])
    refused = inside(*PRICED, "--plan", "--max", "cost=0.001", cwd=small)
    least = re.search(r"at least --max cost=(\S+):", refused.stderr)[1]  # type: ignore[index]
    bought = json.loads(inside(*PRICED, "--plan", "--json", "--max", f"cost={least}", cwd=small).stdout)["plan"]
    assert 1 <= bought["paid_visits"] < plan["visits"]
    said = inside(*PRICED, "--plan", "--max", "cost=2", "--max", "time=30m", cwd=small).stderr
    assert re.search(r"Estimates for these: [\d,]+ tokens in, [\d,]+ out, \$0\.\d+", said)
    assert f"Caps: $2, 30 min. They buy {plan['visits']} of {plan['visits']} visits" in said
    assert not list(small.glob(".hyperalign/runs/*"))


TIME, NUMBER, MONEY = "90s, 30m or 2h", "whole number", "dollars"
BAD = [*((f"time={time}", TIME) for time in ("30", "m", "0s", "1d", "-3s", ""))]
BAD += [(f"calls={count}", NUMBER) for count in ("0", "-1", "1.5", "many", "\u0664", "9" * 5000)]
BAD += [("tokens=", NUMBER), *((f"cost={cost}", MONEY) for cost in ("0", "-2", "nan", "inf", "$2"))]
BAD += [("calls", "KIND=AMOUNT"), ("cals=3", "calls, tokens, cost or time"), ("", "KIND=AMOUNT")]


@pytest.mark.parametrize(("cap", "said"), BAD, ids=[cap[:12] for cap, _ in BAD])
def test_a_cap_that_is_none_is_told(tmp_path: Path, inside: Inside, cap: str, said: str) -> None:
    reply = inside("compile", "--model", "scripted", "--max", cap, cwd=tmp_path)
    assert (reply.returncode, said in reply.stderr, "Traceback" in reply.stderr) == (2, True, False)


def test_a_damaged_record_hides_no_run_and_what_it_cost_is_unknown(tmp_path: Path, inside: Inside) -> None:
    run = tmp_path / ".hyperalign/runs/a-b-1"
    run.mkdir(parents=True)
    (run / "plan.json").write_text('{"model": "openai/small", "source": "here"}')
    (run / "calls.jsonl").write_text("{}\n{}\n")
    listed = json.loads(inside("runs", "show", "--json", cwd=tmp_path).stdout)["runs"]
    assert [(row["calls"], row["money"]) for row in listed] == [(2, None)]
    assert "2 calls recorded, cost unknown" in inside("runs", "show", "a-b", cwd=tmp_path).stdout
