"""From a user's name to a folder's: whatever a person may be called, and nothing that a path may mean."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from hyperalign_dspy.errors import UsageError

LONGEST = 100  # characters of a name
_READABLE = 40  # characters of it that a folder's name shows
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9_-]+)*")
# Names that some systems keep for devices, whatever ending they have.
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(10))})


def checked(name: str) -> str:
    """A name without white space around it, in one of the forms that Unicode has for it.

    Raises:
        UsageError: it is empty, too long, or holds characters that cannot be seen.
    """
    found = unicodedata.normalize("NFC", name).strip()
    if not found:
        raise UsageError("The user's name is empty.", fix="Give one, like: hyperalign profile add ada --samples PATH")
    if len(found) > LONGEST:
        raise UsageError(
            f"The user's name has {len(found)} characters; {LONGEST} is the most.", fix="Take a shorter one."
        )
    # Controls, marks that turn the writing direction, halves of characters: two such names may look like one.
    strange = next((sign for sign in found if unicodedata.category(sign).startswith("C")), "")
    if strange:
        raise UsageError(f"The user's name holds U+{ord(strange):04X}, which cannot be seen.", fix="Leave it out.")
    return found


def folder_name(name: str) -> str:
    """One folder for all spellings that differ in case or width only, on any file system.

    A plain name is the folder's own; any other shows what can be shown of it and, after a ~, which no plain name has,
    a digest. Raises: see `checked`.
    """
    same = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", checked(name)).casefold())
    if _PLAIN.fullmatch(same) and len(same) <= _READABLE and same.partition(".")[0] not in _DEVICES:
        return same
    shown = re.sub(r"[^a-z0-9]+", "-", same).strip("-")[:_READABLE] or "user"
    return f"{shown}~{hashlib.sha256(same.encode()).hexdigest()[:8]}"
