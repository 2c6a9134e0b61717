"""Any DSPy module, with the settings that a search may choose for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dspy

from hyperalign_dspy.program.infer import speaking
from hyperalign_dspy.program.settings import Bounded, SettingsParameter


@dataclass(frozen=True)
class _PlainSettings(Bounded):
    """adapter: how signatures become messages. temperature, max_tokens: None leaves what the model is set to."""

    adapter: str = "chat"
    temperature: float | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        self.within(**({} if self.max_tokens is None else {"max_tokens": (1, 100_000)}))


class Plain(dspy.Module):
    """Runs a module under an adapter, temperature and length of its own, whatever DSPy is set to.

    Its parameters, and so its saved state, are the module's: plain DSPy loads them into the module itself.
    """

    def __init__(self, inner: Any, settings: _PlainSettings | None = None) -> None:
        super().__init__()
        self.inner = inner
        self.settings = SettingsParameter(settings or _PlainSettings())

    def forward(self, **inputs: Any) -> Any:
        """What the module answers."""
        with speaking(self.settings.value.adapter, 1), dspy.context(lm=self._lm()):
            return self.inner(**inputs)

    def named_parameters(self) -> list[tuple[str, Any]]:
        """The module's own."""
        return list(self.inner.named_parameters())

    def _lm(self) -> Any:
        value, lm = self.settings.value, dspy.settings.lm
        set_ = {"temperature": value.temperature, "max_tokens": value.max_tokens}
        known = {name: number for name, number in set_.items() if number is not None}
        return lm.copy(**known) if lm and known else lm
