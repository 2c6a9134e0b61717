"""Answers many requests, several in flight, and writes a line for each: in their order, once, whatever cuts it off.

The file of answers is what says how far it is. What was asked beyond that lies in a record among the project's runs
until every request has its answer, so that nothing is paid twice.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hyperalign_dspy.artifacts.hypotheses import hypothesis_of
from hyperalign_dspy.artifacts.profiles import Profile
from hyperalign_dspy.data.load import read_rows
from hyperalign_dspy.errors import DataError, ModelError, RunMismatch, UsageError
from hyperalign_dspy.files import digest, dump, write_guard, write_text
from hyperalign_dspy.lm.connect import concurrency_of, connect
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Prices
from hyperalign_dspy.lm.thread_pool import ThreadPool
from hyperalign_dspy.runs import folder_for
from hyperalign_dspy.types import Cost, Hypothesis, Sample, Watcher


@dataclass(frozen=True)
class _AnswerCount:
    """How many lines there are now, how many of them without an answer, and what it all cost."""

    lines: int
    failed: int
    cost: Cost


@dataclass(frozen=True)
class Batch:
    """What is to be answered, by which program on which model, and the file that the answers go to; ``concurrency``:
    see `hyperalign_dspy.lm.connect.connect`.
    """

    lines: Sequence[_Line]
    module: Any
    program: str
    model: str
    out: Path
    concurrency: int | None = None

    def answer_all(self, prices: Prices, watcher: Watcher) -> _AnswerCount:
        """Answer every request that has no answer yet; those that failed before are asked again.

        What is wrong with one request, or with one user's profile, is said in its lines. What concerns all of them,
        such as a missing key, is raised.

        Raises:
            RunMismatch: the file holds answers to something else. UsageError: another process writes it.
            MissingFolder: it cannot be written.
        """
        # Looked at before anything is made; and again once nobody else writes it.
        self._kept()
        with write_guard(self.out):
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.out.touch(mode=0o600)
        record = folder_for(f"batch-{digest(str(self.out.resolve()))[:8]}")
        with Ledger(record / "calls.jsonl", prices=prices) as ledger:
            done = self._go_on()
            lm = connect(self.model, ledger=ledger, concurrency=self.concurrency)
            with ThreadPool(lm, concurrency_of(lm), own=(ModelError, UsageError)) as pool:
                ended = itertools.count(done + 1)

                def tell() -> None:
                    watcher.step("requests", next(ended), len(self.lines), ledger.cost())

                failed = self._write(done, self._begun(self.lines[done:], pool, tell))
            cost = ledger.cost()
        if not failed:
            shutil.rmtree(record, ignore_errors=True)
        return _AnswerCount(len(self.lines), failed, cost)

    def _begun(self, lines: Sequence[_Line], pool: ThreadPool, ended: Callable[[], None]) -> list[Future[Any]]:
        """The answers to come. What is believed of users with a profile is looked up, or inferred, first and once."""
        people = list(dict.fromkeys(line.profile for line in lines if line.profile and line.hypotheses is None))

        def believed(profile: Profile) -> list[Hypothesis]:
            return profile.hypotheses(self.module, self.program, self.model)

        # They come before all lines in the pool's queue, so whoever waits for one waits for what is under way.
        known = dict(zip(people, pool.submit(believed, people, lambda: None), strict=True))

        def answer(line: _Line) -> Any:
            samples = line.profile.samples if line.profile else line.samples
            given = None if line.hypotheses is None else list(line.hypotheses)
            if line.profile and given is None:
                found = known[line.profile].result()
                if isinstance(found, ModelError):
                    raise found
                given = found
            # Of a user whose samples stand in the lines, the record sends the inference once.
            return self.module(samples=list(samples), request=line.request, hypotheses=given, seed=line.seed)

        return pool.submit(answer, lines, ended)

    def _write(self, done: int, answers: Sequence[Future[Any]]) -> int:
        """Add a line for each answer to what is not ``done``, in their order; returns how many are none."""
        failed = 0
        with write_guard(self.out), self.out.open("a", encoding="utf-8") as file:
            for line, mark, future in zip(self.lines[done:], self._marks[done:], answers, strict=True):
                answer = future.result()
                failed += isinstance(answer, ModelError)
                file.write(_written(line, mark, answer))
                file.flush()
        return failed

    def _go_on(self) -> int:
        """How many requests are answered; the file ends with the last of these, and what is torn or failed is cut off.

        Raises:
            RunMismatch: see `answer_all`.
        """
        kept, whole = self._kept()
        answered = next((n for n, text in enumerate(kept) if "error" in _row(text)), len(kept))
        if not whole or answered < len(kept):
            # Answers after a failed one come back from the record.
            write_text(self.out, "".join(f"{text}\n" for text in kept[:answered]))
        return answered

    def _kept(self) -> tuple[list[str], bool]:
        """The whole lines of the file of answers, and whether it ends with one. Nothing is changed.

        Raises:
            RunMismatch: a line, or a torn one that is all there is, is no answer to what is asked.
        """
        marks = self._marks
        if not self.out.is_file():
            return [], True
        with write_guard(self.out):
            body, end, torn = self.out.read_bytes().rpartition(b"\n")
        try:
            kept = body.decode("utf-8").split("\n") if end else []
        except UnicodeDecodeError as error:
            raise _foreign(f"{self.out} is not UTF-8, so it holds no answers.") from error
        for number, text in enumerate(kept):
            if number >= len(marks) or _row(text).get("asked") != marks[number]:
                raise _foreign(
                    f"Line {number + 1} of {self.out} answers something else: another request, program or model."
                )
        if torn and not kept:
            begun = _dumped(_asked(self.lines[0])).removesuffix("}").encode("utf-8")
            if not torn.startswith(begun) and not begun.startswith(torn):
                raise _foreign(f"Line 1 of {self.out} is no answer to what is asked.")
        return kept, not torn

    @cached_property
    def _marks(self) -> list[str]:
        """For each line, twelve digits of all that decides its answer, but for what a profile holds."""
        by = digest([self.program, self.model, dump(self.module.dump_state())])
        return [digest([by, line.digest])[:12] for line in self.lines]


def _foreign(message: str) -> RunMismatch:
    return RunMismatch(message, fix="Name another file with --out, or delete this one.")


def _row(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _written(line: _Line, mark: str, answer: Any) -> str:
    row = _asked(line)
    if isinstance(answer, ModelError):
        row["error"] = str(answer)
    else:
        row["text"] = answer.text
        row["hypotheses"] = [h.text for h in answer.hypotheses if h.kind == "inferred"]
    return _dumped({**row, "asked": mark}) + "\n"


def _asked(line: _Line) -> dict[str, Any]:
    return {"id": line.line_id, "user": line.user, "request": line.request, "seed": line.seed}


def _dumped(row: dict[str, Any]) -> str:
    # A model may be cut in the middle of a character, and half a character is no text that a file could hold.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")


_KNOWN = ("id", "user", "samples", "request", "hypotheses", "seed")


@dataclass(frozen=True)
class _Line:
    """One request. ``samples`` are the user's where no ``profile`` holds them; ``digest`` is of the line as given."""

    line_id: str
    user: str
    request: str
    samples: tuple[Sample, ...]
    profile: Profile | None
    hypotheses: tuple[Hypothesis, ...] | None
    seed: int
    digest: str


def read_lines(path: Path, seed: int = 0) -> list[_Line]:
    """Every line of a file, checked before anything is paid; ``seed`` is that of lines without one.

    Raises:
        DataError: what is wrong with which row. UnknownName: a user without samples and without a profile.
    """
    rows = [(f"Row {number} of {path}", str(number), row) for number, row in enumerate(read_rows(path), 1)]
    if not rows:
        raise DataError(f"{path} is empty.", fix='Write one object a line: {"user": "ada", "request": "..."}')
    own = _own_samples(rows)
    load = cache(Profile.load)
    lines = [_line(where, number, row, own, load, seed) for where, number, row in rows]
    seen: dict[str, str] = {}
    for (where, _, _), line in zip(rows, lines, strict=True):
        first = seen.setdefault(line.line_id, where)
        if first != where:
            raise DataError(f"{where} has the id {line.line_id!r} of {first}.", fix="Give it another.")
    return lines


def _own_samples(rows: Sequence[tuple[str, str, Mapping[str, Any]]]) -> dict[str, tuple[Sample, ...]]:
    """user -> the samples that stand in one of their lines."""
    found: dict[str, tuple[Sample, ...]] = {}
    for where, _, row in rows:
        user = _user(row, where)
        if user and row.get("samples"):
            samples = _samples(row["samples"], where)
            if found.setdefault(user, samples) != samples:
                raise DataError(f"{where} has other samples of {user!r} than a row before it.", fix="Give them once.")
    return found


def _line(
    where: str,
    number: str,
    row: Mapping[str, Any],
    own: Mapping[str, tuple[Sample, ...]],
    load: Callable[[str], Profile],
    seed: int,
) -> _Line:
    strange = next((name for name in row if name not in _KNOWN), None)
    if strange is not None:
        raise DataError(f"{where} has {strange!r}, which no request has.", fix=f"There are {', '.join(_KNOWN)}.")
    user, request = _user(row, where), row.get("request")
    if not isinstance(request, str) or not request.strip():
        raise DataError(f"{where} has no request.", fix="Say what is to be written, or delete the row.")
    hypotheses = _hypotheses(row, where)
    samples = own.get(user) or (_samples(row["samples"], where) if row.get("samples") else ())
    profile = load(user) if user and not samples else None
    if not user and not samples and hypotheses is None:
        raise DataError(f"{where} says of nobody to write as.", fix="Name a user with a profile, or give samples.")
    chosen = row.get("seed", seed)
    if type(chosen) is not int:
        raise DataError(f"{where} has the seed {chosen!r}.", fix="Give a whole number.")
    name = number if row.get("id") is None else str(row["id"])
    return _Line(name, user, request, samples, profile, hypotheses, chosen, digest([dict(row), chosen, number])[:12])


def _user(row: Mapping[str, Any], where: str) -> str:
    user = row.get("user") or ""
    if not isinstance(user, str):
        raise DataError(f"{where} has the user {user!r}, which is no name.", fix="Give a text.")
    return user.strip()


def _samples(value: Any, where: str) -> tuple[Sample, ...]:
    found = []
    for item in value if isinstance(value, list) else [value]:
        given = item if isinstance(item, dict) else {"text": item}
        text = given.get("text")
        if not isinstance(text, str) or not text.strip():
            raise DataError(
                f"{where} has a sample that is no text.", fix='Give texts, or {"text": ..., "request": ...}.'
            )
        found.append(Sample(text.strip(), str(given.get("request") or "")))
    return tuple(found)


def _hypotheses(row: Mapping[str, Any], where: str) -> tuple[Hypothesis, ...] | None:
    given = row.get("hypotheses")
    if given is None:
        return None
    if not isinstance(given, list):
        raise DataError(f"{where} has hypotheses that are no list.", fix="Give a list of texts or objects.")
    rows = [{"text": item} if isinstance(item, str) else item for item in given]
    return tuple(hypothesis_of(item, f"Hypothesis {n} in {where}") for n, item in enumerate(rows, 1))
