"""Texts that mean something to a chat template or to DSPy, and how a user's text is kept from meaning it.

A server puts a conversation's messages into one text, in which such words begin and end turns; some read them inside
a message too. A space after the first character takes that from them and leaves the text readable.
"""

from __future__ import annotations

from collections.abc import Iterable

# DSPy cuts a message at this, and reads what follows as pictures or other parts.
CUSTOM_TYPE = "<<CUSTOM-TYPE-"
# By the families of chat templates: ChatML, Llama 3, Phi and Qwen; DeepSeek; Gemma; Llama 2 and Mistral; and the ends
# of a text by which older ones tell turns.
CONTROL = (
    *("<|", "|>"),
    *("<｜", "｜>"),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    *("<s>", "</s>"),
    CUSTOM_TYPE,
)


def neutral(text: str) -> str:
    """The text with a space in every control word. What is neutral stays as it is."""
    for word in CONTROL:
        text = text.replace(word, f"{word[0]} {word[1:]}")
    return text


def without_labels(text: str, labels: Iterable[str]) -> str:
    """The text with a space before the colon of every line that begins like a field: ``Request:`` and the like."""
    text = f"\n{text}"
    for label in labels:
        text = text.replace(f"\n{label}:", f"\n{label} :")
    return text[1:]
