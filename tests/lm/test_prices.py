"""Prices: what is written is what counts, what is not written is unknown, and a wrong file says how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest
from dspy.lm15 import Config, Message, Request, Response, Usage

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits, Price, Prices
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.report.format import money

TABLE = '["openai/small"]\ninput = 0.25\noutput = 2\n'


class Silent(ScriptedEngine):
    """A server that reports no tokens."""

    def complete(self, request: Request) -> Response:
        super().complete(request)
        return Response(None, "m", Message.assistant("yes"), finish_reason="stop", usage=Usage())


def ask(text: str) -> Request:
    return Request("m", (Message.user(text),), config=Config(max_tokens=20, seed=0))


def test_a_price_is_in_dollars_per_million_tokens(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(TABLE)
    prices = Prices.read(tmp_path / "prices.toml")
    assert prices.of("openai/small") == Price(0.25, 2.0)
    assert Price(0.25, 2.0).of(1_000_000, 500_000) == 1.25


def test_a_model_that_is_not_in_the_table_is_unknown_and_one_in_this_process_is_free() -> None:
    prices = Prices()
    assert prices.of("openai/small") is None
    assert {prices.of(model) for model in ("local", "gguf:a.gguf", "scripted", "scripted:delay=3")} == {Price(0, 0)}
    with pytest.raises(UsageError) as caught:
        prices.demand("openai/small")
    assert '["openai/small"]' in caught.value.fix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[openai/small]\ninput = 1\noutput = 1\n", "not valid TOML"),
        ("[openai.small]\ninput = 1\noutput = 1\n", "no price"),
        ('["openai/small"]\ninput = 1\n', "no price"),
        ('["openai/small"]\ninput = 1\noutput = 1\ncached = 1\n', "no price"),
        ('["openai/small"]\ninput = "1"\noutput = 1\n', "input of 'openai/small' is '1'"),
        ('["openai/small"]\ninput = -1\noutput = 1\n', "is -1"),
        ('["openai/small"]\ninput = 1\noutput = nan\n', "is nan"),
        ('["openai/small"]\ninput = true\noutput = 1\n', "is True"),
        ("price = 3\n", "'price' is no price"),
    ],
)
def test_a_malformed_table_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        Prices.read(path)
    assert said in caught.value.message
    assert caught.value.fix


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        Prices.read(tmp_path / "nowhere.toml")


def test_what_calls_cost_is_told_of_each_model_and_unknown_as_soon_as_a_part_is(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    prices = Prices({"openai/small": Price(1_000_000, 2_000_000)})
    with Ledger(path, prices=prices) as ledger:
        ledger.wrap(ScriptedEngine(lambda request: "two words"), "openai/small").complete(ask("one two three"))
        assert ledger.cost().money == 3 + 2 * 2
        ledger.wrap(ScriptedEngine(), "scripted").complete(ask("a"))
        assert ledger.cost().money == 7
        ledger.wrap(ScriptedEngine(), "openai/other").complete(ask("a"))
        assert ledger.cost().money is None
    # What was paid stays what it was, whatever a table says later; what was unknown can become known.
    dearer = Price(3_000_000, 0)
    with Ledger(path, prices=Prices({"openai/small": dearer, "openai/other": dearer})) as ledger:
        assert ledger.cost().money == 7 + 3


def test_tokens_that_a_server_does_not_report_cost_what_nobody_knows_and_count_at_their_most() -> None:
    prices = Prices({"m": Price(1.0, 1.0)})
    ledger = Ledger(limits=Limits(max_tokens=10_000, max_cost=1.0), prices=prices)
    ledger.wrap(Silent(), "m").complete(ask("three words here"))
    assert ledger.cost().money is None
    assert ledger.path().tokens >= len("three words here") + 20
    free = Ledger()
    free.wrap(Silent(), "local").complete(ask("three words here"))
    assert free.cost().money == 0


def test_a_cap_on_money_sends_nothing_of_which_the_price_is_unknown(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    with Ledger(tmp_path / "calls.jsonl") as ledger:
        ledger.wrap(engine, "openai/old").complete(ask("a"))
    capped = Ledger(limits=Limits(max_cost=1.0))
    with pytest.raises(UsageError, match="openai/new"):
        capped.wrap(engine, "openai/new").complete(ask("a"))
    assert engine.calls == 1
    with pytest.raises(UsageError, match="openai/old"):
        Ledger(tmp_path / "calls.jsonl", Limits(max_cost=1.0))


def test_money_in_words() -> None:
    assert [money(None), money(0.0), money(0.0123), money(12.345)] == ["cost unknown", "", "$0.0123", "$12.35"]
