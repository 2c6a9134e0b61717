"""Answers many requests, several in flight, and writes a line for each: in their order, once, whatever cuts it off.

The file of answers is what says how far it is. What was asked beyond that lies in a record among the project's runs
until every request has its answer, so that nothing is paid twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperalign_dspy.artifacts.batch_lines import Line
from hyperalign_dspy.artifacts.profiles import Profile
from hyperalign_dspy.errors import ModelError, RunMismatch, UsageError
from hyperalign_dspy.files import digest, dump, write_text, writing
from hyperalign_dspy.lm.connect import concurrency_of, connect
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.prices import Prices
from hyperalign_dspy.lm.thread_pool import Pool
from hyperalign_dspy.runs import folder_for
from hyperalign_dspy.types import Cost, Hypothesis, Watcher


@dataclass(frozen=True)
class Batch:
    """What is to be answered, by which program on which model, and the file that the answers go to; ``concurrency``:
    see `hyperalign_dspy.lm.connect.connect`.
    """

    lines: Sequence[Line]
    module: Any
    program: str
    model: str
    out: Path
    concurrency: int | None = None

    def marks(self) -> list[str]:
        """For each line, twelve digits of all that decides its answer, but for what a profile holds."""
        by = digest([self.program, self.model, dump(self.module.dump_state())])
        return [digest([by, line.digest])[:12] for line in self.lines]


@dataclass(frozen=True)
class Tally:
    """How many lines there are now, how many of them without an answer, and what it all cost."""

    lines: int
    failed: int
    cost: Cost


def answer_all(batch: Batch, prices: Prices, watcher: Watcher) -> Tally:
    """Answer every request that has no answer yet; those that failed before are asked again.

    What is wrong with one request, or with one user's profile, is said in its lines. What concerns all of them, such as
    a missing key, is raised.

    Raises:
        RunMismatch: the file holds answers to something else. UsageError: another process writes it.
        MissingFolder: it cannot be written.
    """
    marks = batch.marks()
    # Looked at before anything is made; and again once nobody else writes it.
    _kept(batch, marks)
    with writing(batch.out):
        batch.out.parent.mkdir(parents=True, exist_ok=True)
        batch.out.touch(mode=0o600)
    record = folder_for(f"batch-{digest(str(batch.out.resolve()))[:8]}")
    with Ledger(record / "calls.jsonl", prices=prices) as ledger:
        done = _go_on(batch, marks)
        left = batch.lines[done:]
        lm = connect(batch.model, ledger=ledger, concurrency=batch.concurrency)
        with Pool(lm, concurrency_of(lm), own=(ModelError, UsageError)) as pool:
            ended = _Ended(done, len(batch.lines), ledger, watcher)
            failed = _write(batch, left, marks[done:], _begun(batch, left, pool, ended))
        cost = ledger.cost()
    if not failed:
        shutil.rmtree(record, ignore_errors=True)
    return Tally(len(batch.lines), failed, cost)


def _begun(batch: Batch, lines: Sequence[Line], pool: Pool, ended: Callable[[], None]) -> list[Future[Any]]:
    """The answers to come. What is believed of users with a profile is looked up, or inferred, first and once."""
    people = list(dict.fromkeys(line.profile for line in lines if line.profile and line.hypotheses is None))

    def believed(profile: Profile) -> list[Hypothesis]:
        return profile.hypotheses(batch.module, batch.program, batch.model)

    # They come before all lines in the pool's queue, so whoever waits for one waits for what is under way.
    known = dict(zip(people, pool.submit(believed, people, lambda: None), strict=True))

    def answer(line: Line) -> Any:
        samples = line.profile.samples if line.profile else line.samples
        given = None if line.hypotheses is None else list(line.hypotheses)
        if line.profile and given is None:
            found = known[line.profile].result()
            if isinstance(found, ModelError):
                raise found
            given = found
        # Of a user whose samples stand in the lines, the record sends the inference once.
        return batch.module(samples=list(samples), request=line.request, hypotheses=given, seed=line.seed)

    return pool.submit(answer, lines, ended)


def _write(batch: Batch, lines: Sequence[Line], marks: Sequence[str], answers: Sequence[Future[Any]]) -> int:
    """Add a line for each answer, in their order; returns how many are none."""
    failed = 0
    with writing(batch.out), batch.out.open("a", encoding="utf-8") as file:
        for line, mark, future in zip(lines, marks, answers, strict=True):
            answer = future.result()
            failed += isinstance(answer, ModelError)
            file.write(_written(line, mark, answer))
            file.flush()
    return failed


class _Ended:
    """Tells a watcher how many requests are done."""

    def __init__(self, done: int, total: int, ledger: Ledger, watcher: Watcher) -> None:
        self._done, self._total, self._ledger, self._watcher = done, total, ledger, watcher

    def __call__(self) -> None:
        self._done += 1
        self._watcher.step("requests", self._done, self._total, self._ledger.cost())


def _go_on(batch: Batch, marks: Sequence[str]) -> int:
    """How many requests are answered; the file ends with the last of these, and what is torn or failed is cut off.

    Raises:
        RunMismatch: see `answer_all`.
    """
    kept, whole = _kept(batch, marks)
    answered = next((n for n, text in enumerate(kept) if "error" in _row(text)), len(kept))
    if not whole or answered < len(kept):
        # Answers after a failed one come back from the record.
        write_text(batch.out, "".join(f"{text}\n" for text in kept[:answered]))
    return answered


def _kept(batch: Batch, marks: Sequence[str]) -> tuple[list[str], bool]:
    """The whole lines of the file of answers, and whether it ends with one. Nothing is changed.

    Raises:
        RunMismatch: a line, or a torn one that is all there is, is no answer to what is asked.
    """
    if not batch.out.is_file():
        return [], True
    with writing(batch.out):
        body, end, torn = batch.out.read_bytes().rpartition(b"\n")
    try:
        kept = body.decode("utf-8").split("\n") if end else []
    except UnicodeDecodeError as error:
        raise _foreign(f"{batch.out} is not UTF-8, so it holds no answers.") from error
    for number, text in enumerate(kept):
        if number >= len(marks) or _row(text).get("asked") != marks[number]:
            raise _foreign(
                f"Line {number + 1} of {batch.out} answers something else: another request, program or model."
            )
    if torn and not kept and not _begins(torn, batch.lines[0]):
        raise _foreign(f"Line 1 of {batch.out} is no answer to what is asked.")
    return kept, not torn


def _foreign(message: str) -> RunMismatch:
    return RunMismatch(message, fix="Name another file with --out, or delete this one.")


def _begins(torn: bytes, line: Line) -> bool:
    """Whether a torn line is the beginning of a line's answer."""
    own = _dumped(_asked(line)).removesuffix("}").encode("utf-8")
    return torn.startswith(own) or own.startswith(torn)


def _row(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _written(line: Line, mark: str, answer: Any) -> str:
    row = _asked(line)
    if isinstance(answer, ModelError):
        row["error"] = str(answer)
    else:
        row["text"] = answer.text
        row["hypotheses"] = [h.text for h in answer.hypotheses if h.kind == "inferred"]
    return _dumped({**row, "asked": mark}) + "\n"


def _asked(line: Line) -> dict[str, Any]:
    return {"id": line.line_id, "user": line.user, "request": line.request, "seed": line.seed}


def _dumped(row: dict[str, Any]) -> str:
    # A model may be cut in the middle of a character, and half a character is no text that a file could hold.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")
