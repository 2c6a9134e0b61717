"""A provider that asks for patience gets it: who is refused for calling too often waits, and asks again."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from dspy.utils.exceptions import LMError, LMRateLimitError

from hyperalign_dspy.errors import BudgetReached, ModelError, NotSent, causes

_Answer = TypeVar("_Answer")

# So often one call is sent; without a hint from the provider that is half an hour of waiting.
_MOST_TRIES = 40
_LONGEST = 60.0  # seconds of one pause where the provider names none
# After so many refusals of one call the provider's own word is not enough: it may be "0 seconds" for ever.
_BELIEVED = 5
_EVERY = 60.0  # seconds between two lines that say so

_log = logging.getLogger(__name__)


class RateLimit:
    """What all calls to one provider share: until when nobody asks it.

    ``left`` gives the seconds that a cap on time leaves, ``clock`` seconds that never go back.
    """

    def __init__(
        self,
        provider: str,
        left: Callable[[], float] = lambda: math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.provider = provider
        self._left, self._clock = left, clock
        self._until, self._said = -math.inf, -math.inf
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._lost = threading.local()

    def through(self, send: Callable[[], _Answer], seed: str) -> _Answer:
        """What ``send`` returns, sent again after each refusal. ``seed`` decides how far the pauses are spread.

        Raises:
            ModelError: refused too often. NotSent: nobody wants the answer any more. BudgetReached: the wait would pass
            the cap on time. Else whatever ``send`` raises, untried again.
        """
        start, tries = self._clock(), 0
        while True:
            self._wait()
            self._lost.seconds = self._clock() - start
            try:
                return send()
            except LMError as error:
                tries += 1
                if not _refused(error):
                    raise
                if tries == _MOST_TRIES:
                    raise ModelError(f"{self.provider} refused a call {tries} times: {error}") from error
                self._pause(pause(retry_after(error), tries, seed))

    def waited(self) -> float:
        """Seconds that this thread's last call lost before the try that ended it."""
        return float(getattr(self._lost, "seconds", 0.0))

    def stop(self) -> None:
        """Nobody waits any longer, and nothing is sent."""
        self._over.set()

    def _pause(self, seconds: float) -> None:
        with self._lock:
            now = self._clock()
            self._until = max(self._until, now + seconds)
            silent = seconds < 1 or now - self._said < _EVERY
            self._said = self._said if silent else now
        if not silent:
            _log.warning("%s is at its rate limit: waiting %.0f s, and so on until it answers.", self.provider, seconds)

    def _wait(self) -> None:
        while not self._over.is_set():
            seconds = self._until - self._clock()
            if seconds <= 0:
                return
            if seconds > self._left():
                raise BudgetReached(
                    f"{self.provider} is at its rate limit for {seconds:.0f} s more, which would pass the cap on time. "
                    "Everything recorded is kept.",
                    fix="Go on later, with a higher cap: --max time=AMOUNT",
                    cap="--max time",
                )
            self._over.wait(seconds)
        raise NotSent("The run ended before this call was sent.")


def pause(hint: float | None, tries: int, seed: str) -> float:
    """Seconds to wait after a call's ``tries``-th refusal: the provider's hint, else twice as long each time.

    Without a hint it is spread over its upper half: programs refused together do not come back together.
    """
    return _backoff(tries, seed) if hint is None else max(hint, _backoff(tries - _BELIEVED, seed))


def _refused(error: LMError) -> bool:
    """Whether a call was turned away for now, unbilled: too many calls, or too busy until a given time."""
    return isinstance(error, LMRateLimitError) or (error.status == 503 and retry_after(error) is not None)


def retry_after(error: BaseException) -> float | None:
    """The seconds of a Retry-After header, in the error or, as of some of DSPy's engines, beneath it."""
    for link in causes(error):
        found = _seconds(getattr(link, "retry_after", None))
        for holder in (getattr(link, "response", None), link):
            if found is None:
                found = _seconds((getattr(holder, "headers", None) or {}).get("retry-after"))
        if found is not None:
            return found
    return None


def _seconds(hint: object) -> float | None:
    """A hint, a number or a header's date, as seconds from now; None of anything else."""
    try:
        seconds = float(str(hint))
    except ValueError:
        return _until(str(hint))
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _until(date: str) -> float | None:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return None
    # A date without a zone is in universal time, as all of HTTP's are.
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _backoff(tries: int, seed: str) -> float:
    if tries < 1:
        return 0.0
    return min(_LONGEST, 2.0 ** (tries - 1)) * random.Random(f"{seed} {tries}").uniform(0.5, 1.0)
