"""`hyperalign init`: a program and a recipe of one's own, ready to compile and then to edit."""

from __future__ import annotations

import re
from pathlib import Path

import click

from hyperalign_dspy.cli.common import emit, json_option
from hyperalign_dspy.errors import UsageError

_MODULE = '''"""A program of your own: any DSPy module, and a metric that scores one prediction against one row."""

import dspy


class {title}(dspy.Module):
    """Tells how a short message sounds."""

    def __init__(self):
        super().__init__()
        self.tell = dspy.Predict("message -> mood")

    def forward(self, message):
        return self.tell(message=message)


def names_the_mood(example, prediction):
    """1 where the row's mood is named in the answer, else 0."""
    return float(example.mood.lower() in prediction.mood.lower())
'''
_PROGRAM = """schema = 1
name = "{name}"
summary = "Tells how a short message sounds."
task = "examples"
module = "{python}:{title}"
metric = "{python}:names_the_mood"
inputs = ["message"]
data = "{python}.jsonl"

[baseline]
adapter = "turns"
temperature = 0.0
"tell.instruction" = "seed"

[instructions.tell]
choose = "Is the message happy or sad? Answer with one word."
mood = "Name the mood of the message: happy or sad."
"""
_RECIPE = """schema = 1
name = "quick"
summary = "A first search for {name}."
visits = 4
finalists = 2
block_users = 10
block_requests = 1
confirm_users = 20
confirm_requests = 1
max_tokens = 16

[slots]
temperature = [0.0, 0.7]
"tell.instruction" = ["seed", "choose", "mood"]
"""
_HAPPY = """We won the match and danced all the way home
The baby laughed for the first time today
I got the job and I cannot stop smiling
What a lovely dinner, thank you all for coming
The sun is out and the garden is full of birds
My sister is coming to stay for the whole summer
They said yes, we are moving into the blue house
Best birthday I have had in years
The test came back and everything is fine
We sang in the car for three hours
My old friend found me after twenty years
First snow this morning and the children ran out shouting
The bread came out perfect at last
He proposed on the bridge and I said yes
Our little team finished first of forty
The vet says the dog will be completely well
I planted a tree with my grandfather today
They played our song and everybody joined in
A stranger returned my wallet with every coin in it
We stayed up late and talked about good times""".split("\n")
_SAD = """The old dog did not wake up this morning
I missed the last train and nobody came
They closed the library where I learned to read
She left without saying goodbye
The letter said that they had chosen someone else
It has rained for days and the phone never rings
We had to sell the farm after all
I keep setting a plate for him out of habit
The doctor did not have good news
My best friend is moving to another country
The house is so quiet since the children left
I dropped the cup that was my grandmother's
Nobody remembered what day it was
The river took the bridge and half the orchard
We lost in the last minute of the last game
The shop that my father built is empty now
I stood at the grave and had no words
Another winter alone with the clock ticking
The roses froze before they could open
He read the message twice and put out the light""".split("\n")


@click.command("init")
@click.argument("name")
@json_option
def init_command(name: str, as_json: bool) -> None:
    """Write a small working program NAME into this folder: module, metric, rows, program.toml and recipe.

    It compiles as it is; then put your own module, metric and rows in their place.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise UsageError(f"{name!r} is no name for a program.", fix="Lower-case letters, digits, - and _.")
    python = name.replace("-", "_")
    values = {"name": name, "python": python, "title": python.title().replace("_", "")}
    rows = [
        _row(message, mood)
        for pair in zip(_HAPPY, _SAD, strict=True)
        for message, mood in zip(pair, ("happy", "sad"), strict=True)
    ]
    files = {
        Path(f"{python}.py"): _MODULE.format(**values),
        Path(f"{python}.jsonl"): "".join(rows),
        Path("programs") / name / "program.toml": _PROGRAM.format(**values),
        Path("optimizers") / f"{name}-quick.toml": _RECIPE.format(**values),
    }
    _write(files)
    text = "\n".join([*(f"wrote {path}" for path in files), f"Next: hyperalign compile {name}"])
    emit({"schema": "hyperalign/init/1", "files": [str(path) for path in files]}, text, as_json=as_json)


def _row(message: str, mood: str) -> str:
    import json

    return json.dumps({"message": message + ".", "mood": mood}) + "\n"


def _write(files: dict[Path, str]) -> None:
    from hyperalign_dspy.files import write_text

    there = [path for path in files if path.exists()]
    if there:
        raise UsageError(f"{there[0]} is there already; nothing was written.", fix="Take another name.")
    for path, text in files.items():
        write_text(path, text)
