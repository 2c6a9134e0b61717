"""From a model's name to a `dspy.LM`: the embedded one, a GGUF file, a scripted one, or any provider."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
from concurrent.futures import Executor
from functools import cache
from typing import Any

import dspy
from dspy.lm15 import Request, Response
from dspy.utils.exceptions import LMError

from hyperalign_dspy.errors import ModelError, UsageError
from hyperalign_dspy.lm.engine import Engine, EngineWrapper, TokenCallback, key_of, token_callback
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.local import LocalEngine
from hyperalign_dspy.lm.models import EMBEDDED, GGUF, LOCAL, SCRIPTED, check_name, in_process, local_path, sha256
from hyperalign_dspy.lm.rate_limit import RateLimit
from hyperalign_dspy.lm.scripted import ScriptedEngine

# Calls in flight where the engine does not say how many it takes well.
REMOTE_CONCURRENCY = 8


class _RemoteEngine(Engine):
    """One call through DSPy's own engine for the provider, sent again only where the provider was too busy to take it.

    What fails is retried outside, by DSPy, and recorded there. Engines of one provider share their ``patience``.
    """

    def __init__(self, model: str, patience: RateLimit) -> None:
        self._model, self._patience = model, patience
        self._lm = dspy.LM(model, cache=False, num_retries=0)
        self.supports_response_schema = self._lm.supports_response_schema
        self.supported_params = frozenset(self._lm.supported_params)

    def complete(self, request: Request) -> Response:
        def send() -> Response:
            with dspy.context(disable_history=True):
                tell = token_callback()
                return _told(self._lm, request, tell) if tell else self._lm(request)

        return self._patience.through(send, key_of(self._model, request))

    def waited(self) -> float:
        return self._patience.waited()


class _Elsewhere(EngineWrapper):
    """Stands before an engine whose calls an executor makes; who opened that closes it."""

    def __init__(self, inner: Engine, model: str, executor: Executor, concurrency: int) -> None:
        super().__init__(inner)
        self._model, self._executor, self.concurrency = model, executor, concurrency

    def complete(self, request: Request) -> Response:
        return self._executor.submit(answer, self._model, request).result()


def answer(model: str, request: Request) -> Response:
    """One call of a model in this process, whichever that is: what an executor is given.

    Raises:
        LM15Error, LMError: the call failed. HyperalignError: this process cannot use the model.
    """
    return _engine_here(model).complete(request)


@cache
def _engine_here(model: str) -> Engine:
    return _engine_of(model, Ledger())


def connect(
    model: str,
    *,
    ledger: Ledger | None = None,
    max_tokens: int = 256,
    temperature: float | None = None,
    concurrency: int | None = None,
    executor: Executor | None = None,
) -> Any:
    """A `dspy.LM` for the name: ``local``, ``gguf:PATH``, ``scripted[:LETTER|:delay=MS]``, or ``provider/name``.

    Calls pass through ``ledger`` (a new one in memory if none is given); DSPy's own cache is off.
    ``concurrency`` calls are in flight at once, None: as many as the engine takes well; one in this process takes no
    more. ``executor`` makes the calls, one `answer` each; without one the threads that ask do.

    Raises:
        UnknownName: a name of no kind. MissingKey, MissingWeights: with what to type.
    """
    check_name(model)
    ledger = ledger or Ledger()
    engine = _engine_of(model, ledger)
    if concurrency:
        engine.concurrency = min(concurrency, engine.concurrency or concurrency)
    if executor:
        engine = _Elsewhere(engine, model, executor, concurrency or 0)
    return dspy.LM(
        model, engine=ledger.wrap(engine, model), cache=False, max_tokens=max_tokens, temperature=temperature
    )


def concurrency_of(lm: Any) -> int:
    """How many calls to have in flight: what the engine takes well, or a fair number."""
    return (lm.engine.concurrency if isinstance(lm.engine, Engine) else 0) or REMOTE_CONCURRENCY


def describe_model(model: str) -> dict[str, str]:
    """What a manifest says of a model beside its name: runtime and weights, or a digest of a server's address.

    Never keys, addresses or paths.
    """
    if model == LOCAL:
        return {"weights": EMBEDDED.name, "weights_sha256": EMBEDDED.sha256, "runtime": _runtime()}
    if model.startswith(GGUF):
        path = local_path(model)
        return {"weights": path.name, "weights_sha256": sha256(path), "runtime": _runtime()}
    # The environment may set a server in place of the provider's own: another server may be another model.
    provider = model.partition("/")[0].upper().replace("-", "_")
    names = [name for end in ("API_BASE", "BASE_URL") if (name := f"{provider}_{end}") in os.environ]
    address = os.environ[names[0]] if names else ""
    return {"server": hashlib.sha256(address.encode()).hexdigest()[:12]} if address else {}


def _runtime() -> str:
    return f"xllamacpp {importlib.metadata.version('xllamacpp')}"


def _engine_of(model: str, ledger: Ledger) -> Engine:
    """What makes the calls of a model; a provider's patience is the ledger's."""
    if model == LOCAL or model.startswith(GGUF):
        return LocalEngine(local_path(model), model)
    if in_process(model):
        return _scripted_engine(model)
    return _RemoteEngine(model, ledger.patience(model.partition("/")[0]))


def _told(lm: Any, request: Request, tell: TokenCallback) -> Response:
    """An answer whose pieces are told as they come.

    Raises:
        ModelError: it broke off after some were told. To ask again would tell the beginning twice.
    """
    streamed = dspy.streamify(lambda: dspy.Prediction(response=lm(request)), async_streaming=False)
    heard = False
    try:
        for event in streamed():
            if isinstance(event, dspy.Prediction):
                response: Response = event.response
                return response
            for choice in getattr(event, "choices", ()):
                if piece := choice.delta.content:
                    heard = True
                    tell(piece)
    except LMError as error:
        if heard:
            raise ModelError(f"The answer broke off: {error}", fix="Give the command again.") from error
        raise
    raise ModelError("The provider's answer has no end.")


def _scripted_engine(model: str) -> ScriptedEngine:
    match = re.fullmatch(r"(?:delay=(\d+)|([a-z]))?", model.partition(":")[2])
    if not match:
        raise UsageError(
            f"{model!r} is no scripted model.", fix="scripted, scripted:LETTER or scripted:delay=MILLISECONDS"
        )
    return ScriptedEngine(delay=int(match[1] or 0) / 1000, name=match[2] or SCRIPTED)
