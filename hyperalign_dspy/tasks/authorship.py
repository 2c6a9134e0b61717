"""Writing as a user would: users split, samples portioned, style verifiers as judges, controls that mean something."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from hyperalign_dspy.data.load import Columns, load_corpus
from hyperalign_dspy.data.pairs import SHOWN
from hyperalign_dspy.data.split import Needs, portion, split_users
from hyperalign_dspy.files import digest
from hyperalign_dspy.metrics.copying import RUN, longest_run_among, longest_shared_run, overlap
from hyperalign_dspy.metrics.features import Background, feature_gaps, measured_hypotheses
from hyperalign_dspy.metrics.panel import PRIMARY, fit_verifier
from hyperalign_dspy.metrics.refusal import steps_out
from hyperalign_dspy.metrics.style import StyleVerifier, validate
from hyperalign_dspy.program.configuration import SEED, Configuration
from hyperalign_dspy.program.infer import BackgroundParameter, cut
from hyperalign_dspy.program.specs import ProgramSpec
from hyperalign_dspy.tasks.protocol import Answer, Arm, Asked, Context, Job, Score, TaskData
from hyperalign_dspy.types import Instance, TextPair, User

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


class AuthorshipData(TaskData):
    """The task of `programs/authorship`; options: ``columns`` (`Columns`) and ``words`` (a request's word budget).

    Raises:
        DataError: a corpus that cannot be read. NotEnoughData: too few users or samples, with the numbers needed.
    """

    unit = "log-odds"
    validation: tuple[Instance, ...]
    sealed: tuple[Instance, ...]

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._words = int(job.options.get("words", 60))
        self.corpus = load_corpus(job.source, job.options.get("columns", Columns()), words=self._words)
        self.split = split = split_users(self.corpus, _NEEDS, job.seed)
        if job.on == "validation":
            self.split = split = replace(split, sealed=(*split.validation, *split.train))
        job.notify(f"{len(self.corpus.users)} users.")
        self._portions = portion(self._everyone, _NEEDS, job.seed)
        self.background = Background.of(s.text for user in split.train for s in user.samples)
        searched = split.validation[: job.recipe.search_users or None]
        self.validation = self._instances(searched, job.recipe.search_requests)
        self.sealed = self._instances(split.sealed[: job.recipe.confirm_users], job.recipe.confirm_requests)

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
    def _validated(self) -> Mapping[str, Any]:
        """What both judges score on people's own held-out text."""
        self.job.notify("Training the style verifiers.")
        own = self._references(self.sealed)
        judge, *panel = (
            {"name": judge.name, **asdict(validate(judge, *own))} for judge in (self.sealed_judge, *self.panel.values())
        )
        return {"judge": judge, "panel": dict(zip(self.panel, panel, strict=True))}

    def _references(self, instances: Sequence[Instance]) -> tuple[list[str], list[str]]:
        """What users wrote, cut as generated texts are, since longer ones are easier to attribute; and whose it is."""
        return [cut(i.reference, self._words) for i in instances], [i.user_id for i in instances]

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """Counts, and what both judges score on people's own held-out text."""
        split = self.split
        return {
            "corpus": self.corpus.name,
            "corpus_digest": self.corpus.digest,
            "public": self.corpus.public,
            "users": {"train": len(split.train), "validation": len(split.validation), "sealed": len(split.sealed)},
            "split_digest": split.digest,
            "demonstrations_share": self._demonstrations_share(),
            **self._validated,
        }

    @property
    def texts(self) -> Sequence[str]:
        return [sample.text for user in self.corpus.users for sample in user.samples]

    def extend(self, program: ProgramSpec) -> None:
        """Take the program with more candidates; what its demonstrations share with the corpus is counted anew."""
        super().extend(program)
        self.__dict__.pop("facts", None)

    def module(self, configuration: Configuration) -> Any:
        """The program's module; what "as others" means is measured on the train users."""
        module = super().module(configuration)
        for _, parameter in module.named_parameters():
            if isinstance(parameter, BackgroundParameter):
                parameter.value = self.background
        return module

    def inputs(self, instance: Instance) -> dict[str, Any]:
        """Samples, request, and a seed that depends on the instance alone, whatever the arm. What the user wrote on
        the request is no part of it: no prompt may show it.
        """
        mixed = hashlib.sha256(f"{self.job.seed}:{instance.instance_id}".encode()).digest()[:8]
        seed = int.from_bytes(mixed, "big") % 2**28
        return {"samples": list(instance.shown), "request": instance.request, "seed": seed}

    def answer(self, module: Any, instance: Instance, *, context: Context = "own") -> Answer:
        """One text on the instance's request."""
        inputs = self.inputs(instance)
        if context == "other":
            inputs["samples"] = list(self._stranger(instance).shown)
        if context == "none":
            inputs["hypotheses"] = []
        return Answer(module(**inputs).text, tuple(sample.text for sample in inputs["samples"]))

    def _rated_text(self, instance: Instance, text: str) -> tuple[float, Callable[[], str]]:
        """A logistic function of the log-odds, 0.5 where they are 0; 0 for a text that copies a sample."""
        answer = Answer(text, tuple(sample.text for sample in instance.shown))
        score = self.score([answer], [instance], sealed=False)[0]
        value = 0.0 if score.copied else 1 / (1 + math.exp(-score.value / _LOGISTIC))
        return value, lambda: self._said(score, instance, text)

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
        return float(self.search_judge.log_odds(*self._references(self.validation)).mean())

    def asked(self, instance: Instance) -> Asked:
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

        Generic and raw k-shot know no hypothesis to choose among drafts by, so they have one. "k-shot, best of n" has
        as many as the compiled program: against it, what the rest of the prompt is worth can be seen.
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

    def _said(self, score: Score, instance: Instance, text: str) -> str:
        """A score in words: how surely it is the user's, and what in it is not theirs."""
        head = (
            f"A judge of style ranks the true writer {score.rank} of {len(self.search_judge.users)} for this text "
            f"(log-odds {score.value:+.1f}; above 0 it takes the text for theirs)."
        )
        copied = "It copies one of the samples word by word, which counts as a failure." if score.copied else ""
        return " ".join(part for part in (head, copied, self.feedback(instance, text)) if part)

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
        found = []
        for user in users:
            own = self._portions[user.user_id]
            for place, sample in enumerate(own.evaluated[:requests]):
                name = f"{user.user_id}/{place}"
                found.append(Instance(name, user.user_id, sample.request, sample.text, own.shown))
        return tuple(found)

    def _stranger(self, instance: Instance) -> Instance:
        pool = self.sealed if any(i.user_id == instance.user_id for i in self.sealed) else self.validation
        ids = list(dict.fromkeys(i.user_id for i in pool))
        other = ids[(ids.index(instance.user_id) + 1) % len(ids)]
        return next(i for i in pool if i.user_id == other)


def _score(answer: Answer, odds: float, others: Mapping[str, float], rank: int) -> Score:
    longest = max((longest_shared_run(answer.text, sample) for sample in answer.shown), default=0)
    shared = overlap(answer.text, answer.shown)
    return Score(odds, others, rank, longest >= RUN, longest, shared, refused=steps_out(answer.text))
