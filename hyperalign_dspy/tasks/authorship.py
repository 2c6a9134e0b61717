"""Writing as a user would: users split, samples portioned, style verifiers as judges, controls that mean something."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import dspy

from hyperalign_dspy.data.load import Columns, load_corpus
from hyperalign_dspy.data.pairs import SHOWN
from hyperalign_dspy.data.split import Needs, Portions, Split, portion, split_users
from hyperalign_dspy.files import digest
from hyperalign_dspy.metrics.copying import RUN, longest_run_among, longest_shared_run, overlap
from hyperalign_dspy.metrics.features import Background, feature_gaps, measured_hypotheses
from hyperalign_dspy.metrics.panel import PRIMARY, fit_verifier
from hyperalign_dspy.metrics.refusal import steps_out
from hyperalign_dspy.metrics.style import StyleVerifier, validate
from hyperalign_dspy.program.configuration import SEED, Configuration, build
from hyperalign_dspy.program.infer import cut
from hyperalign_dspy.program.specs import ProgramSpec
from hyperalign_dspy.tasks.protocol import (
    LABEL,
    Answer,
    Arm,
    Asked,
    Context,
    Job,
    Score,
    as_dspy_score,
    one_a_user,
    text_of,
)
from hyperalign_dspy.types import Corpus, Instance, Sample, TextPair, User

# The same for every recipe and every evaluation: who is sealed for one is sealed for all.
_NEEDS = Needs()
# Verifiers that are printed beside the primary one, of which they are no part. Not "shape", which looks at what chooses
# among drafts.
_PANEL = ("grammar",)
# A text of this many log-odds is scored 0.73 for an optimiser that wants 0 to 1. Texts of small models lie between -12
# and 5: with the plain logistic function all but the best would be 0.
_LOGISTIC = 4.0
# So many habits in which a text differs are told to an optimiser that reads feedback.
_MOST_SAID = 4
# A text's word budget where the job names none.
_WORDS = 60


class AuthorshipTask:
    """The task of `programs/authorship`; options: ``columns`` (`Columns`) and ``words`` (a request's word budget)."""

    def prepare(self, job: Job) -> AuthorshipData:
        """Read, split and portion the corpus, and train the judges on texts that no prompt shows.

        Raises:
            DataError: a corpus that cannot be read. TooLittleData: too few users or samples, with the numbers needed.
        """
        columns = job.options.get("columns", Columns())
        words = int(job.options.get("words", _WORDS))
        corpus = load_corpus(job.source, columns, words=words)
        split = split_users(corpus, _NEEDS, job.seed)
        if job.on == "validation":
            split = replace(split, sealed=(*split.validation, *split.train))
        job.notify(f"{len(corpus.users)} users.")
        return AuthorshipData(job, corpus, split)


class AuthorshipData:
    """See `hyperalign_dspy.tasks.protocol.TaskData`."""

    unit = "log-odds"

    def __init__(self, job: Job, corpus: Corpus, split: Split) -> None:
        self.job, self.corpus, self.split = job, corpus, split
        self.program = job.program
        self._portions = {user.user_id: portion(user, _NEEDS, job.seed) for user in self._everyone}
        self.background = Background.of(s.text for user in split.train for s in user.samples)
        searched = split.validation[: job.recipe.search_users or None]
        self.validation = self._instances(searched, job.recipe.search_requests)
        self.sealed = self._instances(split.sealed[: job.recipe.confirm_users], job.recipe.confirm_requests)
        self.control_instances = one_a_user(self.sealed)

    @property
    def digest(self) -> str:
        """SHA-256 over the corpus, its split and how samples are portioned."""
        return digest([self.corpus.digest, self.split.digest, asdict(_NEEDS), self.job.seed])

    @cached_property
    def search_judge(self) -> StyleVerifier:
        """The primary verifier as the search sees it: it has never met a sealed user."""
        return fit_verifier(PRIMARY, self._unshown((*self.split.train, *self.split.validation)), self.job.seed)

    def verifier(self, name: str) -> StyleVerifier:
        """A family of the panel over all users, fitted on texts that no prompt shows."""
        return fit_verifier(name, self._unshown(self._everyone), self.job.seed)

    @cached_property
    def sealed_judge(self) -> StyleVerifier:
        """The primary verifier of the confirmation."""
        return self.verifier(PRIMARY)

    @cached_property
    def panel(self) -> Mapping[str, StyleVerifier]:
        """Judges of other families, that neither the search nor the choice among drafts ever saw."""
        return {name: self.verifier(name) for name in _PANEL}

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """Counts, and what both judges score on people's own held-out text."""
        return {
            "corpus": self.corpus.name,
            "corpus_digest": self.corpus.digest,
            "public": self.corpus.public,
            "users": {name: len(getattr(self.split, name)) for name in ("train", "validation", "sealed")},
            "split_digest": self.split.digest,
            "demonstrations_share": self._demonstrations_share(),
            **self._validated,
        }

    @cached_property
    def _validated(self) -> Mapping[str, Any]:
        """What both judges score on people's own held-out text."""
        self.job.notify("Training the style verifiers.")
        # Cut to the length that a generated text can have: longer texts are easier to attribute.
        words = int(self.job.options.get("words", _WORDS))
        references, ids = [cut(i.reference, words) for i in self.sealed], [i.user_id for i in self.sealed]
        return {
            "judge": {"name": self.sealed_judge.name, **asdict(validate(self.sealed_judge, references, ids))},
            "panel": {
                name: {"name": judge.name, **asdict(validate(judge, references, ids))}
                for name, judge in self.panel.items()
            },
        }

    @property
    def texts(self) -> Sequence[str]:
        """Every sample of every user."""
        return [sample.text for user in self.corpus.users for sample in user.samples]

    def extend(self, program: ProgramSpec) -> None:
        """Take the program with more candidates; what its demonstrations share with the corpus is counted anew."""
        self.program = program
        self.__dict__.pop("facts", None)

    def module(self, configuration: Configuration) -> Any:
        """The program's module; what "as others" means is measured on the train users."""
        module = build(self.program, configuration)
        if hasattr(module, "background"):
            module.background.value = self.background
        return module

    def answer(self, module: Any, instance: Instance, *, context: Context = "own") -> Answer:
        """One text on the instance's request; the seed depends on the instance alone, whatever the arm."""
        shown = self._stranger(instance).shown if context == "other" else instance.shown
        known: dict[str, Any] = {"hypotheses": []} if context == "none" else {}
        written = module(**self._inputs(instance, shown), **known)
        return Answer(written.text, tuple(sample.text for sample in shown))

    def example(self, instance: Instance) -> dspy.Example:
        """Samples, request and seed. What the user wrote on the request is no part of it: no prompt may show it."""
        inputs = self._inputs(instance, instance.shown)
        return dspy.Example(**inputs, **{LABEL: instance.instance_id}).with_inputs(*inputs)

    def metric(
        self, example: dspy.Example, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
    ) -> Any:
        """A logistic function of the log-odds, 0.5 where they are 0; 0 for a text that copies a sample."""
        del trace, pred_trace
        instance = self._by_id[example[LABEL]]
        text = text_of(prediction)
        if not text:
            return as_dspy_score(0.0, lambda: "There is no text.", pred_name)
        shown = tuple(sample.text for sample in instance.shown)
        score = self.score([Answer(text, shown)], [instance], sealed=False)[0]
        value = 0.0 if score.copied else 1 / (1 + math.exp(-score.value / _LOGISTIC))
        return as_dspy_score(value, lambda: self._said(score, text, shown), pred_name)

    def score(self, answers: Sequence[Answer], instances: Sequence[Instance], *, sealed: bool) -> list[Score]:
        """Log-odds and rank by the primary verifier, log-odds by the others (sealed only), and copying."""
        if not answers:
            return []
        texts = [answer.text for answer in answers]
        judge = self.sealed_judge if sealed else self.search_judge
        ids = [instance.user_id for instance in instances]
        odds, ranks = judge.odds_and_ranks(texts, ids)
        others = {name: judge.log_odds(texts, ids) for name, judge in self.panel.items()} if sealed else {}
        return [
            _score(answer, float(odds[n]), {name: float(found[n]) for name, found in others.items()}, int(ranks[n]))
            for n, answer in enumerate(answers)
        ]

    @property
    def ceiling(self) -> float:
        """The validation users' own held-out texts, as the search's judge sees them, cut as generated ones are."""
        words = int(self.job.options.get("words", _WORDS))
        own = [cut(i.reference, words) for i in self.validation]
        return float(self.search_judge.log_odds(own, [i.user_id for i in self.validation]).mean())

    def asked(self, instance: Instance) -> Asked:
        """The request, and what the user wrote for it."""
        return Asked(instance.request, instance.reference)

    def pair(self, instance: Instance, mine: str, rival: str) -> TextPair:
        """Which text is by the writer of the samples that a prompt may show."""
        samples = tuple(sample.text for sample in instance.shown[:SHOWN])
        return TextPair("authorship", instance.user_id, mine, rival, None, instance.request, samples)

    def feedback(self, instance: Instance, text: str) -> str:
        """The measured habits in which a text lies furthest from its user."""
        hypotheses = measured_hypotheses([sample.text for sample in instance.shown], self.background)
        return " ".join(feature_gaps(text, hypotheses, _MOST_SAID))

    def controls(self, compiled: Configuration) -> Sequence[Arm]:
        """What a reader wants to see beside the compiled program, at its temperature.

        Generic and raw k-shot know no hypothesis, so they have nothing to choose among drafts by: one draft is what
        they are. Picked k-shot is the same prompt with the compiled program's drafts, chosen by the measured
        hypotheses; against it, what the rest of the compiled prompt is worth can be seen.
        """
        values = compiled.as_dict()
        seeds = {slot: SEED for slot in values if slot.startswith("generate.write.")}
        plain = compiled.changed(shown_hypotheses="none", samples=0, **seeds)
        k = int(values["samples"]) or 1
        held = values["shown_hypotheses"] if values["shown_hypotheses"] != "none" else "inferred"
        return (
            Arm("generic", plain.changed(drafts=1), "none", "no user"),
            Arm("raw k-shot", plain.changed(drafts=1, samples=k), "none", f"{k} samples, no hypotheses"),
            Arm("k-shot, best of n", plain.changed(samples=k), note="the same, drafts picked by measured hypotheses"),
            Arm("hypotheses only", compiled.changed(shown_hypotheses=held, samples=0), note="no samples"),
            Arm("hypotheses, samples", compiled.changed(shown_hypotheses=held, samples=k), note="both in the prompt"),
            Arm("wrong user", compiled, "other", "another user's samples and hypotheses"),
        )

    def calls(self, configuration: Configuration) -> int:
        """One call a draft, and one to infer."""
        values = configuration.as_dict()
        return int(values["drafts"]) + int(values["shown_hypotheses"] in ("inferred", "both"))

    def _inputs(self, instance: Instance, shown: Sequence[Sample]) -> dict[str, Any]:
        seed = _order(self.job.seed, instance.instance_id) % 2**28
        return {"samples": list(shown), "request": instance.request, "seed": seed}

    @cached_property
    def _by_id(self) -> Mapping[str, Instance]:
        """The instances that a search may see."""
        return {instance.instance_id: instance for instance in self.validation}

    def _said(self, score: Score, text: str, shown: Sequence[str]) -> str:
        """A score in words: how surely it is the user's, and what in it is not theirs."""
        head = (
            f"A judge of style ranks the true writer {score.rank} of {len(self.search_judge.users)} for this text "
            f"(log-odds {score.value:+.1f}; above 0 it takes the text for theirs)."
        )
        copied = ["It copies one of the samples word by word, which counts as a failure."] if score.copied else []
        habits = feature_gaps(text, measured_hypotheses(shown, self.background), _MOST_SAID)
        return " ".join([head, *copied, *habits])

    def _demonstrations_share(self) -> int:
        """The longest run of words that a demonstration of the program shares with anybody's text in the corpus."""
        demos = [demo for sets in self.program.demos.values() for listed in sets.values() for demo in listed]
        written = [value for demo in demos for value in demo.values() if isinstance(value, str)]
        texts = self.texts
        return max((longest_run_among(value, texts) for value in written), default=0)

    @property
    def _everyone(self) -> tuple[User, ...]:
        users = (*self.split.train, *self.split.validation, *self.split.sealed)
        return tuple({user.user_id: user for user in users}.values())

    def _unshown(self, users: Sequence[User]) -> dict[str, list[str]]:
        return {user.user_id: [s.text for s in self._portions[user.user_id].verifier] for user in users}

    def _instances(self, users: Sequence[User], requests: int) -> tuple[Instance, ...]:
        return tuple(
            instance for user in users for instance in _of(user.user_id, self._portions[user.user_id], requests)
        )

    def _stranger(self, instance: Instance) -> Instance:
        """An instance of the next user in the same list."""
        pool = self.sealed if any(i.user_id == instance.user_id for i in self.sealed) else self.validation
        ids = list(dict.fromkeys(i.user_id for i in pool))
        other = ids[(ids.index(instance.user_id) + 1) % len(ids)]
        return next(i for i in pool if i.user_id == other)


def _score(answer: Answer, odds: float, others: Mapping[str, float], rank: int) -> Score:
    longest = max((longest_shared_run(answer.text, sample) for sample in answer.shown), default=0)
    shared = overlap(answer.text, answer.shown)
    return Score(odds, others, rank, longest >= RUN, longest, shared, refused=steps_out(answer.text))


def _of(user_id: str, portions: Portions, requests: int) -> list[Instance]:
    return [
        Instance(f"{user_id}/{place}", user_id, sample.request, sample.text, portions.shown)
        for place, sample in enumerate(portions.evaluated[:requests])
    ]


def _order(seed: int, name: str) -> int:
    """A number that depends on seed and name only, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")
