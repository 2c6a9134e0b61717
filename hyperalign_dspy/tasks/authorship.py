"""Writing as a user would: users split, samples portioned, style verifiers as judges, controls that mean something."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from hyperalign_dspy.data.load import Columns, load_corpus
from hyperalign_dspy.data.split import Needs, Portions, Split, portion, split_users
from hyperalign_dspy.metrics.leak import copies
from hyperalign_dspy.metrics.measured import Background
from hyperalign_dspy.metrics.style import StyleVerifier, fit_function_words, fit_ngrams, validate
from hyperalign_dspy.shelf.configure import Configuration, build
from hyperalign_dspy.shelf.specs import digest
from hyperalign_dspy.tasks.protocol import Answer, Arm, Job, Score
from hyperalign_dspy.types import Corpus, Instance, User


class AuthorshipTask:
    """The task of `programs/authorship`; options: ``columns`` (`Columns`) and ``words`` (a request's word budget)."""

    def prepare(self, job: Job) -> AuthorshipBench:
        """Read, split and portion the corpus, and train the judges on texts that no prompt shows.

        Raises:
            DataError: a corpus that cannot be read. TooLittleData: too few users or samples, with the numbers needed.
        """
        columns = job.options.get("columns", Columns())
        words = int(job.options.get("words", 60))
        corpus = load_corpus(job.source, columns, words=words)
        recipe = job.recipe
        needs = Needs(evaluated=max(recipe.confirm_requests, recipe.block_requests))
        split = split_users(corpus, needs, job.seed, recipe.confirm_users)
        job.notify(f"{len(corpus.users)} users; training the style verifiers")
        return AuthorshipBench(job, corpus, split, needs)


class AuthorshipBench:
    """See `hyperalign_dspy.tasks.protocol.Bench`."""

    unit = "log-odds"

    def __init__(self, job: Job, corpus: Corpus, split: Split, needs: Needs) -> None:
        self.job, self.corpus, self.split = job, corpus, split
        everyone = (*split.train, *split.validation, *split.sealed)
        self._portions = {user.user_id: portion(user, needs, job.seed) for user in everyone}
        self._needs = needs
        self.background = Background.of(s.text for user in split.train for s in user.samples)
        self.validation = self._instances(split.validation, job.recipe.block_requests)
        sealed = sorted(split.sealed, key=lambda user: _order(job.seed, user.user_id))[: job.recipe.confirm_users]
        self.sealed = self._instances(sealed, job.recipe.confirm_requests)

    @property
    def digest(self) -> str:
        """SHA-256 over the corpus, its split and how samples are portioned."""
        return digest([self.corpus.digest, self.split.digest, asdict(self._needs), self.job.seed])

    @cached_property
    def search_judge(self) -> StyleVerifier:
        """The primary verifier as the search sees it: it has never met a sealed user."""
        return fit_ngrams(self._unshown((*self.split.train, *self.split.validation)), self.job.seed)

    @cached_property
    def sealed_judge(self) -> StyleVerifier:
        """The primary verifier of the confirmation, over all users."""
        return fit_ngrams(self._unshown(self._everyone), self.job.seed)

    @cached_property
    def second_judge(self) -> StyleVerifier:
        """A judge of another family, that neither the search nor the choice among drafts ever saw."""
        return fit_function_words(self._unshown(self._everyone), self.job.seed)

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """Counts, and what both judges score on people's own held-out text."""
        references, ids = [i.reference for i in self.sealed], [i.user_id for i in self.sealed]
        return {
            "corpus": self.corpus.name,
            "corpus_digest": self.corpus.digest,
            "public": self.corpus.public,
            "users": {name: len(getattr(self.split, name)) for name in ("train", "validation", "sealed")},
            "split_digest": self.split.digest,
            "judge": {"name": self.sealed_judge.name, **asdict(validate(self.sealed_judge, references, ids))},
            "second": {
                "name": self.second_judge.name,
                **asdict(validate(self.second_judge, references, ids)),
            },
        }

    def module(self, configuration: Configuration) -> Any:
        """The program's module; what "as others" means is measured on the train users."""
        module = build(self.job.program, configuration)
        if hasattr(module, "background"):
            module.background.value = self.background
        return module

    def answer(self, module: Any, instance: Instance, *, wrong: bool = False) -> Answer:
        """One text; for somebody else's samples and hypotheses where ``wrong``."""
        shown = self._stranger(instance).shown if wrong else instance.shown
        seed = _order(self.job.seed, instance.instance_id) % 2**28
        written = module(samples=list(shown), request=instance.request, seed=seed)
        return Answer(written.text, written.drafts[0])

    def score(self, texts: Sequence[str], instances: Sequence[Instance], *, sealed: bool) -> list[Score]:
        """Log-odds and rank by the primary verifier, log-odds by the second (sealed only), and copying."""
        if not texts:
            return []
        judge = self.sealed_judge if sealed else self.search_judge
        ids = [instance.user_id for instance in instances]
        odds, ranks = judge.log_odds(texts, ids), judge.ranks(texts, ids)
        second = self.second_judge.log_odds(texts, ids) if sealed else [0.0] * len(texts)
        copied = [
            copies(text, [s.text for s in instance.shown]) for text, instance in zip(texts, instances, strict=True)
        ]
        return [Score(float(o), float(s), int(r), c) for o, s, r, c in zip(odds, second, ranks, copied, strict=True)]

    def controls(self, compiled: Configuration) -> Sequence[Arm]:
        """Generic, raw k-shot, hypotheses only and the wrong user, all at the compiled drafts and temperature."""
        values = compiled.as_dict()
        plain = compiled.changed(told="none", samples=0, **{"generate.write.instruction": "seed"})
        k = int(values["samples"]) or 1
        told = values["told"] if values["told"] != "none" else "inferred"
        return (
            Arm("generic", plain, note="no user"),
            Arm("raw k-shot", plain.changed(samples=k), note=f"{k} samples, no hypotheses"),
            Arm("hypotheses only", compiled.changed(told=told, samples=0), note="no samples"),
            Arm("wrong user", compiled, wrong=True, note="another user's samples and hypotheses"),
        )

    def calls(self, configuration: Configuration) -> int:
        """One call a draft, and one to infer."""
        values = configuration.as_dict()
        return int(values["drafts"]) + int(values["told"] in ("inferred", "both"))

    @property
    def _everyone(self) -> tuple[User, ...]:
        return (*self.split.train, *self.split.validation, *self.split.sealed)

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


def _of(user_id: str, portions: Portions, requests: int) -> list[Instance]:
    return [
        Instance(f"{user_id}/{place}", user_id, sample.request, sample.text, portions.shown)
        for place, sample in enumerate(portions.evaluated[:requests])
    ]


def _order(seed: int, name: str) -> int:
    """A number that depends on seed and name only, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")
