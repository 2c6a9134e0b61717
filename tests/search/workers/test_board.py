"""The board, its journal and its storages; and a lead and its workers in one process."""

from __future__ import annotations

import json
import string
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from dspy.lm15 import Config, ContextLengthError, InvalidRequestError, Message, Request, ServerError
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from optuna.storages.journal import JournalStorage
from optuna.trial import TrialState

from hyperalign_dspy.errors import (
    BudgetReached,
    MissingStorage,
    ModelError,
    NotSent,
    RunMismatch,
    UnknownName,
    UsageError,
)
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.lm.messages import key_of
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.lm.siblings import expected, siblings
from hyperalign_dspy.lm.wire import answers_of, call_of, failed_of, requests_of, responses_of
from hyperalign_dspy.search.workers import board as boards
from hyperalign_dspy.search.workers.board import LEAD, Board, find_board
from hyperalign_dspy.search.workers.lead import Lead
from hyperalign_dspy.search.workers.storages import Journal, bare, open_storage, reached, whole
from hyperalign_dspy.search.workers.worker import Helped, Worker
from hyperalign_dspy.types import Cost

MODEL = "scripted"
TEXTS = st.text(st.characters(codec=None, exclude_categories=[]), max_size=40)
SECRETS = st.text(string.ascii_letters + string.digits + "!$&'*+,;=_~-@:/?#[]% é", min_size=6, max_size=20)


class Quiet:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, phase: str, done: int, total: int, cost: Cost) -> None:
        """Nothing."""


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life come often, and nobody is waited for."""
    monkeypatch.setattr(boards, "BEAT", 0.05)
    monkeypatch.setattr(boards, "LEASE", 0.6)
    monkeypatch.setattr("hyperalign_dspy.search.workers.lead._IDLE", 0.05)


def ask(text: str, seed: int = 0) -> Request:
    return Request(MODEL, (Message.user(text),), config=Config(max_tokens=8, seed=seed))


def board(folder: Path, *, private: bool = True) -> Board:
    url = f"journal:{folder / 'calls.journal'}"
    return Board(url, open_storage(url), "run-1", private=private)


def joined(folder: Path, watcher: Quiet | None = None) -> Worker:
    return Worker(board(folder), watcher or Quiet())


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@given(
    st.lists(TEXTS.filter(bool), min_size=1, max_size=3), TEXTS, st.integers(0, 2**31), st.lists(st.text(max_size=3))
)
@settings(deadline=None)
def test_a_request_arrives_as_it_was_asked(texts: list[str], system: str, seed: int, stop: list[str]) -> None:
    turns = [Message.user(t) if n % 2 == 0 else Message.assistant(t) for n, t in enumerate(texts)]
    shape = {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {"type": "array"}}}}
    config = Config(max_tokens=3, temperature=0.7, seed=seed, stop=tuple(filter(None, stop)), response_format=shape)
    request = Request(MODEL, tuple(turns), system=system or None, config=config)
    there = requests_of(json.loads(json.dumps(call_of(MODEL, request, 3))))
    assert key_of(MODEL, there[0]) == key_of(MODEL, request)
    assert [r.config.seed for r in there] == [seed, seed + 1, seed + 2]


def test_what_was_changed_on_its_way_is_not_called() -> None:
    call = call_of(MODEL, ask("a"), 1)
    with pytest.raises(ModelError):
        requests_of({**call, "messages": [{"role": "user", "content": "b"}]})


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ServerError("busy"), ServerError),
        (ContextLengthError("long"), ContextLengthError),
        (InvalidRequestError("no"), InvalidRequestError),
        (ModelError("refused"), InvalidRequestError),
        (UsageError("the worker's own fault"), ServerError),
        (ZeroDivisionError(), InvalidRequestError),
    ],
)
def test_a_failure_fails_in_the_same_way_where_it_was_asked(error: Exception, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        responses_of(json.loads(json.dumps(failed_of(error))))


def test_a_call_is_claimed_once(tmp_path: Path) -> None:
    places = [board(tmp_path).post({"key": str(n)}) for n in range(30)]
    several = [board(tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda b: [p for p in places if b.claim(p, "somebody")], several))
    assert sorted(place for places in got for place in places) == sorted(places)


def test_an_answer_to_what_was_taken_back_changes_nothing(tmp_path: Path) -> None:
    one, other = board(tmp_path), board(tmp_path)
    place = one.post({"key": "k"})
    assert other.claim(place, "other")
    one.drop(place)
    assert not other.answer(place, {"answers": []})
    assert not other.claim(place, "other")
    assert [work.state for work in one.works()] == [TrialState.FAIL]


@given(st.integers(1, 60))
@settings(deadline=None, max_examples=20)
def test_half_a_line_of_a_killed_process_does_no_harm(cut: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "calls.journal"
        place = board(path.parent).post({"key": "whole"})
        whole_lines = path.read_bytes()
        board(path.parent).post({"key": "torn"})
        torn = path.read_bytes()[: len(whole_lines) + cut]
        path.write_bytes(torn)
        assert [work.place for work in board(path.parent).works()] == [place]
        board(path.parent).post({"key": "next"})
        # Any of Optuna's tools reads it.
        found = JournalStorage(Journal(path)).get_all_trials(0)
        assert [trial.user_attrs["call"]["key"] for trial in found] == ["whole", "next"]


@given(SECRETS, SECRETS, st.sampled_from(["db", "10.0.0.7", "[::1]"]), st.sampled_from(["", ":5433"]))
@settings(deadline=None, max_examples=50)
def test_what_is_said_does_not_depend_on_credentials(name: str, secret: str, host: str, port: str) -> None:
    def said(name: str, secret: str) -> str:
        quoted = quote(secret, safe="")
        user = f"{quote(name, safe='')}:{quoted}"
        url = f"postgresql://{user}@{host}{port}/studies?password={quoted}&sslpassword={quoted}"
        assert bare(url) == f"postgresql://{host}{port}/studies"
        with pytest.raises(MissingStorage) as caught, reached(url):
            raise OSError(f"cannot log '{name}' in to {url}, whatever '{secret}' is")
        return f"{caught.value} {caught.value.fix}"

    plain = said("somebody", "long and unlike anything")
    # A password that is a part of what is said in any case is no secret.
    assume(not any(word in plain for word in (name, secret, quote(name), quote(secret, safe=""))))
    assert said(name, secret) == plain


@given(SECRETS)
@example("000@0?")
@example("12#3")
@example("1/2")
@settings(deadline=None, max_examples=50)
def test_a_password_that_was_not_quoted_is_never_taken_for_something_else(secret: str) -> None:
    found = ""
    with suppress(UsageError):
        found = bare(f"postgresql://somebody:{secret}@db/studies")
    assert found in ("", "postgresql://db/studies")


def test_credentials_come_back_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    full = "postgresql://me:secret@db:5432/studies"
    monkeypatch.setenv("HYPERALIGN_STORAGE", full)
    assert whole(bare(full)) == full
    assert whole("postgresql://other:5432/studies") == "postgresql://other:5432/studies"


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@db/x", "redis://:secret@db", "postgresql://me:secret@db:port/x", "grpc://db"]
)
def test_a_storage_of_no_kind_is_refused_without_its_credentials(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        bare(url) if "port/" in url else open_storage(url)
    assert "secret" not in str(caught.value)


def test_runs_are_found_by_the_beginning_of_their_names(tmp_path: Path) -> None:
    first = board(tmp_path)
    assert find_board(first.url, "run").run_id == "run-1"
    with pytest.raises(UnknownName, match="run-1"):
        find_board(first.url, "walk")


def test_a_worker_makes_as_many_calls_at_once_as_it_is_told(tmp_path: Path) -> None:
    with Lead(board(tmp_path), MODEL, print):
        assert [Worker(board(tmp_path), Quiet(), most).slots for most in (None, 2, 64)] == [4, 2, 4]


def lead_and_workers(folder: Path, count: int, engine: Any, asked: list[Request]) -> tuple[list[str], list[Helped]]:
    """Ask all at once, with so many workers; the answers, and what the workers did."""
    ledger = Ledger()
    with Lead(board(folder), MODEL, print) as lead:
        engine = ledger.wrap(lead.engine(engine, MODEL), MODEL)
        workers = [joined(folder) for _ in range(count)]
        pool = ThreadPoolExecutor(count + len(asked))
        helping = [pool.submit(worker.run) for worker in workers]
        eventually(lambda: len(lead._workers) == count)
        texts = list(pool.map(lambda request: engine.complete(request).message.text, asked))
    return texts, [future.result() for future in helping]


def test_workers_answer_as_the_lead_would(tmp_path: Path, hurried: None) -> None:
    asked = [ask(f"{number}") for number in range(40)]
    slow = ScriptedEngine(delay=0.05)
    slow.concurrency = 1
    texts, helped = lead_and_workers(tmp_path, 2, slow, asked)
    assert texts == [ScriptedEngine().complete(request).message.text for request in asked]
    assert slow.calls + sum(h.calls for h in helped) == len(asked)
    # How the two part the work is up to the machine.
    assert sum(h.calls for h in helped) > 10
    assert not any(h.left for h in helped)


def test_workers_and_a_dead_one_never_pass_a_cap(
    tmp_path: Path, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = ScriptedEngine(delay=0.05)
    monkeypatch.setattr("hyperalign_dspy.search.workers.worker.engine_of", lambda model, ledger: provider)
    ledger = Ledger(limits=Limits(max_calls=25))
    with ThreadPoolExecutor(40) as pool, Lead(board(tmp_path), MODEL, print) as lead:
        engine = ledger.wrap(lead.engine(provider, MODEL), MODEL)
        lead._free = 0
        death = threading.Thread(target=claimed_by_nobody_alive, args=(tmp_path, lead))
        death.start()
        first = pool.submit(engine.complete, ask("lost"))
        death.join()
        workers = [joined(tmp_path) for _ in range(2)]
        helping = [pool.submit(worker.run) for worker in workers]
        eventually(lambda: {worker.name for worker in workers} <= {*lead._workers})
        lead.rise()

        def refused(number: int) -> bool:
            try:
                engine.complete(ask(f"{number}"))
            except BudgetReached:
                return True
            return False

        ends = list(pool.map(refused, range(60)))
        assert isinstance(first.exception(), ServerError)
        # What the dead one had claimed may have been billed.
        assert provider.calls == ends.count(False) == 24
    assert sum(future.result().calls for future in helping) > 0


class Drafting(ScriptedEngine):
    """Makes siblings at once, as the engine in this process does."""

    def drafts(self, request: Request) -> int:
        return expected()


def test_siblings_are_made_where_the_first_was(tmp_path: Path, hurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Drafting()
    monkeypatch.setattr("hyperalign_dspy.search.workers.worker.engine_of", lambda model, ledger: there)
    here = Drafting()
    here.concurrency = 0
    with Lead(board(tmp_path), MODEL, print) as lead:
        engine = Ledger().wrap(lead.engine(here, MODEL), MODEL)
        lead._free = 0
        helping = ThreadPoolExecutor(1).submit(joined(tmp_path).run)
        with siblings(3):
            texts = [engine.complete(ask("a", seed)).message.text for seed in (5, 6, 7)]
        assert len([work for work in lead.board.works() if work.answer]) == 1
    assert texts == [ScriptedEngine().complete(ask("a", seed)).message.text for seed in (5, 6, 7)]
    assert (here.calls, there.calls, helping.result().calls) == (0, 3, 1)


def claimed_by_nobody_alive(folder: Path, lead: Lead) -> None:
    """A worker that signs on, claims what comes first, and is never heard of again."""
    dead = board(folder)
    session = dead.told()[LEAD]["session"]
    dead.tell("worker dead", {"session": session, "beat": 1, "slots": 2, "state": "here"})
    eventually(lambda: lead._room > 0)
    eventually(lambda: any(dead.claim(work.place, "worker dead") for work in dead.works(TrialState.WAITING)))


def test_a_call_of_a_dead_worker_fails_as_one_that_may_be_tried_again(tmp_path: Path, hurried: None) -> None:
    ledger = Ledger()
    with Lead(board(tmp_path), MODEL, print) as lead:
        engine = ledger.wrap(lead.engine(ScriptedEngine(), MODEL), MODEL)
        lead._free = 0
        death = threading.Thread(target=claimed_by_nobody_alive, args=(tmp_path, lead))
        death.start()
        with pytest.raises(ServerError, match="worker dead left before it answered"):
            engine.complete(ask("a"))
        death.join()
        lead.rise()
        assert engine.complete(ask("a")).message.text
    # It may have been billed.
    assert (ledger.failures, ledger.cost().calls) == (1, 1)


def test_an_answer_that_comes_as_its_worker_is_given_up_is_used(
    tmp_path: Path, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = answers_of([ScriptedEngine(lambda _: "at last").complete(ask("a"))], 0.1)
    drop = Board.drop

    def too_late(self: Board, place: int) -> None:
        self.storage.set_trial_user_attr(place, "answer", answer)
        drop(self, place)

    with Lead(board(tmp_path), MODEL, print) as lead:
        engine = lead.engine(ScriptedEngine(), MODEL)
        lead._free = 0
        monkeypatch.setattr(Board, "drop", too_late)
        death = threading.Thread(target=claimed_by_nobody_alive, args=(tmp_path, lead))
        death.start()
        assert engine.complete(ask("a")).message.text == "at last"
        death.join()


def test_an_answer_that_a_dead_lead_did_not_record_is_not_paid_again(tmp_path: Path, hurried: None) -> None:
    earlier, request = board(tmp_path), ask("a")
    place = earlier.post(call_of(MODEL, request, 1))
    earlier.post(call_of(MODEL, ask("b"), 1))
    earlier.claim(place, "worker x")
    earlier.answer(place, answers_of([ScriptedEngine(lambda _: "recorded").complete(request)], 0.1))
    engine = ScriptedEngine()
    with Lead(board(tmp_path), MODEL, print) as lead:
        shared = lead.engine(engine, MODEL)
        assert shared.complete(request).message.text == "recorded"
        assert engine.calls == 0
        # What nobody had claimed is taken down: whether it is still wanted is for this session to say.
        assert not earlier.works(TrialState.WAITING)


def test_what_a_run_did_not_send_or_hear_before_its_end_is_owed_by_nobody(tmp_path: Path, hurried: None) -> None:
    path = tmp_path / "calls.jsonl"
    with Ledger(path, Limits(max_calls=4)) as ledger, ThreadPoolExecutor(3) as pool:
        with suppress(KeyboardInterrupt), Lead(board(tmp_path), MODEL, print) as lead:
            engine = ledger.wrap(lead.engine(ScriptedEngine(), MODEL), MODEL)
            lead._free = 0
            death = threading.Thread(target=claimed_by_nobody_alive, args=(tmp_path, lead))
            death.start()
            ends = [pool.submit(engine.complete, ask(text)) for text in "ab"]
            death.join()
            lead._room = 0
            ends.append(pool.submit(engine.complete, ask("c")))
            raise KeyboardInterrupt
        assert [type(end.exception()) for end in ends] == [NotSent] * 3
        late = pool.submit(engine.complete, ask("late"))
        assert isinstance(late.exception(), NotSent)
        assert (ledger.failures, path.read_text()) == (0, "")
        # What was set aside is there again: so many calls are affordable.
        again = ledger.wrap(ScriptedEngine(), MODEL)
        assert [again.complete(ask(f"{number}")).message.text for number in range(4)]


def test_a_storage_that_goes_away_makes_nobody_owe_what_was_left_there(
    tmp_path: Path, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Board, call: Any) -> int:
        raise MissingStorage("gone")

    ledger = Ledger()
    with Lead(board(tmp_path), MODEL, print) as lead:
        engine = ledger.wrap(lead.engine(ScriptedEngine(), MODEL), MODEL)
        lead._free, lead._room = 0, 1
        monkeypatch.setattr(Board, "post", gone)
        with pytest.raises(MissingStorage):
            engine.complete(ask("a"))
    assert ledger.failures == 0


def test_a_failure_that_a_dead_lead_did_not_hear_of_is_asked_again(tmp_path: Path, hurried: None) -> None:
    earlier, request = board(tmp_path), ask("a")
    place = earlier.post(call_of(MODEL, request, 1))
    earlier.claim(place, "worker x")
    earlier.answer(place, failed_of(ServerError("busy")))
    ledger = Ledger()
    with Lead(board(tmp_path), MODEL, print) as lead:
        assert ledger.wrap(lead.engine(ScriptedEngine(), MODEL), MODEL).complete(request).message.text
    assert ledger.failures == 0


def test_a_worker_that_finds_the_board_removed_learns_that_the_run_has_ended(tmp_path: Path, hurried: None) -> None:
    with Lead(board(tmp_path, private=False), MODEL, print):
        late = joined(tmp_path)
    assert find_no_board(tmp_path)
    helped = late.run()
    assert (helped.calls, helped.left) == (0, False)


def find_no_board(folder: Path) -> bool:
    return not open_storage(f"journal:{folder / 'calls.journal'}").get_all_studies()


def test_a_lead_whose_board_is_removed_says_so(tmp_path: Path, hurried: None) -> None:
    with Lead(board(tmp_path), MODEL, print) as lead:
        engine = lead.engine(ScriptedEngine(), MODEL)
        lead._free = 0
        board(tmp_path).remove()
        with pytest.raises(MissingStorage, match="removed the board of run-1"):
            engine.complete(ask("a"))


def written(folder: Path) -> str:
    """Every letter in the journal's folder."""
    return "".join(path.read_text() for path in folder.iterdir())


def test_a_shared_journal_keeps_no_text_of_a_run_that_ended_and_every_one_of_another(
    tmp_path: Path, hurried: None
) -> None:
    first = board(tmp_path, private=False)
    other = Board(first.url, open_storage(first.url), "run-2")
    kept = other.post(call_of(MODEL, ask("theirs"), 1))
    with Lead(first, MODEL, print) as lead:
        place = lead.board.post(call_of(MODEL, ask("our question"), 1))
        late = board(tmp_path, private=False)
        assert late.claim(place, "worker late")
        late.answer(place, {"answers": ["our answer"]})
        after = lead.board.post(call_of(MODEL, ask("our question"), 1))
        assert late.claim(after, "worker late")
        assert "our question" in written(tmp_path)
        assert "our answer" in written(tmp_path)
    assert not late.answer(after, {"answers": ["our answer"]})
    assert "our" not in written(tmp_path)
    # Whoever had the file open goes on with it, and so does who opens it now.
    assert other.claim(kept, "worker other")
    assert [work.call["messages"][0]["content"] for work in other.works()] == ["theirs"]
    assert find_board(first.url, "run-2").works() == other.works()


@pytest.mark.parametrize(
    ("error", "private", "stays"),
    [
        (None, False, False),
        (BudgetReached("cap"), False, False),
        (KeyboardInterrupt(), False, True),
        (MissingStorage("gone"), False, True),
        (None, True, False),
        (BudgetReached("cap"), True, True),
    ],
)
def test_a_board_goes_with_its_run_unless_the_run_may_go_on(
    tmp_path: Path, hurried: None, error: BaseException | None, private: bool, stays: bool
) -> None:
    with (
        suppress(BudgetReached, MissingStorage, KeyboardInterrupt),
        Lead(board(tmp_path, private=private), MODEL, print),
    ):
        board(tmp_path).post(call_of(MODEL, ask("a text"), 1))
        if error:
            raise error
    assert ("a text" in written(tmp_path)) == stays
    assert (tmp_path / "calls.journal").is_file() == (stays or not private)


def test_what_a_worker_has_in_hand_when_the_board_goes_may_have_been_billed(tmp_path: Path, hurried: None) -> None:
    ledger = Ledger()
    with ThreadPoolExecutor(1) as pool:
        with suppress(BudgetReached), Lead(board(tmp_path, private=False), MODEL, print) as lead:
            engine = ledger.wrap(lead.engine(ScriptedEngine(), MODEL), MODEL)
            lead._free = 0
            death = threading.Thread(target=claimed_by_nobody_alive, args=(tmp_path, lead))
            death.start()
            end = pool.submit(engine.complete, ask("a"))
            death.join()
            raise BudgetReached("cap")
        assert isinstance(end.exception(), ServerError)
    assert ledger.failures == 1


def test_a_journal_is_its_owners_alone(tmp_path: Path, hurried: None) -> None:
    with Lead(board(tmp_path, private=False), MODEL, print):
        assert (tmp_path / "calls.journal").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "calls.journal").stat().st_mode & 0o777 == 0o600


def test_another_lead_is_refused_while_the_first_lives(tmp_path: Path, hurried: None) -> None:
    with Lead(board(tmp_path, private=False), MODEL, print), pytest.raises(UsageError, match="in use"):
        Lead(board(tmp_path, private=False), MODEL, print).__enter__()
    # The first has ended and removed its board.
    with Lead(board(tmp_path, private=False), MODEL, print):
        pass


def test_a_worker_with_another_version_or_model_is_refused_with_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingStorage):
        joined(tmp_path)
    with Lead(board(tmp_path), "openai/small", print):
        monkeypatch.setenv("OPENAI_API_BASE", "http://elsewhere")
        monkeypatch.setattr("hyperalign_dspy.search.workers.lead.version", lambda package: "0.0.1")
        with pytest.raises(RunMismatch) as caught:
            joined(tmp_path)
    assert "  server: there None, here " in str(caught.value)
    assert "  version: there " in str(caught.value)
    assert "elsewhere" not in str(caught.value)


def test_a_worker_claims_nothing_where_nobody_leads(
    tmp_path: Path, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with suppress(KeyboardInterrupt), Lead(board(tmp_path), MODEL, print) as lead:
        place = lead.board.post(call_of(MODEL, ask("a"), 1))
        lead._over.set()
        raise KeyboardInterrupt
    board(tmp_path).tell(LEAD, {"session": "dead", "beat": 7, "state": "here"})
    monkeypatch.setattr("hyperalign_dspy.search.workers.worker.PATIENCE", 1.5)
    watcher = Quiet()
    with pytest.raises(MissingStorage, match="Nobody leads run-1 any more"):
        joined(tmp_path, watcher).run()
    assert [work.state for work in board(tmp_path).works() if work.place == place] == [TrialState.WAITING]
    assert len([line for line in watcher.said if "waiting" in line]) == 1


def test_a_worker_whose_model_is_out_of_reach_leaves_and_says_why(
    tmp_path: Path, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(request: Request) -> Any:
        raise ServerError("no route")

    there = SimpleNamespace(complete=down, concurrency=2, supported_params={"seed"})
    monkeypatch.setattr("hyperalign_dspy.search.workers.worker.engine_of", lambda model, ledger: there)
    monkeypatch.setattr("hyperalign_dspy.search.workers.worker._MOST_FAILURES", 2)
    slow = ScriptedEngine(delay=0.1)
    slow.concurrency = 1
    with ThreadPoolExecutor(9) as pool, Lead(board(tmp_path), MODEL, print) as lead:
        engine = lead.engine(slow, MODEL)
        helping = pool.submit(joined(tmp_path).run)
        eventually(lambda: bool(lead._workers))

        def persistent(number: int) -> str:
            for _ in range(30):
                try:
                    return str(engine.complete(ask(f"{number}")).message.text)
                except ServerError:
                    time.sleep(0.05)
            raise AssertionError

        assert all(pool.map(persistent, range(8)))
        with pytest.raises(ModelError, match="cannot be called from here"):
            helping.result()
