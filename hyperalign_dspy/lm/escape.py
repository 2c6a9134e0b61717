"""Texts that mean something to a chat template or to DSPy, and how a user's text is kept from meaning it.

A server puts a conversation's messages into one text, in which such words begin and end turns; some read them inside
a message too. A space after the first character takes that from them and leaves the text readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# DSPy cuts a message at this, and reads what follows as pictures or other parts.
CUSTOM_TYPE = "<<CUSTOM-TYPE-"
# By the families of chat templates: ChatML, Llama 3, Phi and Qwen; DeepSeek; Gemma; Llama 2 and Mistral; the ends of a
# text by which older ones tell turns; and tool calls and thoughts.
CONTROL = (
    *("<|", "|>"),
    *("<｜", "｜>"),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    *("<s>", "</s>"),
    *("[TOOL_CALLS]", "<tool_call>", "</tool_call>", "<think>", "</think>"),
    CUSTOM_TYPE,
)
# What ends a line to anybody, and white space that does not.
_BREAK = r"[\n\r\v\f\x85\u2028\u2029]"
_SPACE = r"[^\S\n\r\v\f\x85\u2028\u2029]"


def escape_control_tokens(text: str) -> str:
    """The text with a space in every control word. What is neutral stays as it is."""
    for word in CONTROL:
        text = text.replace(word, f"{word[0]} {word[1:]}")
    return text


def escape_labels(text: str, labels: Iterable[str]) -> str:
    """The text with one space before the colon of every line that begins like a field: ``Request:`` and the like,
    in whatever case, and whatever ends the line before.
    """
    for label in labels:
        begin = rf"((?:\A|{_BREAK}){_SPACE}*{re.escape(label)}){_SPACE}*:"
        text = re.sub(begin, r"\1 :", text, flags=re.IGNORECASE)
    return text


def on_one_line(text: str) -> str:
    """The text with a space for every line break."""
    return re.sub(f"\r\n|{_BREAK}", " ", text)
