"""Few rooms, few names, one meaning each: what keeps the house readable, counted."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hyperalign_dspy"
NAME = PACKAGE.name


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


TEXTS = {module_of(path): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {module: ast.parse(text) for module, text in TEXTS.items()}
LINES = {module: len(text.splitlines()) for module, text in TEXTS.items()}


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def names_of(node: ast.stmt) -> list[str]:
    """What a statement at the top of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def public() -> Counter[str]:
    """Each public name, and in how many modules it is defined."""
    found = (name for tree in TREES.values() for node in tree.body for name in names_of(node))
    return Counter(name for name in found if not name.startswith("_"))


def taken(module: str) -> Iterator[tuple[str, str]]:
    """Each (module, name) that a module imports from the package, wherever in it, but for types alone."""
    guards = [n for n in ast.walk(TREES[module]) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    for_types = {id(node) for guard in guards for node in ast.walk(guard)}
    for node in ast.walk(TREES[module]):
        if id(node) in for_types or not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.startswith(NAME):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole, "") if whole in TREES else (node.module, alias.name)


def test_public_names_are_few_and_mean_one_thing_each() -> None:
    names = public()
    assert not [name for name, count in names.items() if count > 1]
    assert 1000 * names.total() / sum(LINES.values()) <= 24


def test_the_house_is_small_and_no_room_is_most_of_it() -> None:
    total = sum(LINES.values())
    assert total <= 20_000
    rooms = Counter[str]()
    for module, lines in LINES.items():
        rooms[room_of(module)] += lines
    assert max(rooms.values()) / total <= 0.22


def test_imports_are_at_most_fifteen_deep_and_go_round_nowhere() -> None:
    graph = {module: {other for other, _ in taken(module)} - {module} for module in TREES}

    @cache
    def depth(module: str) -> int:
        return max((1 + depth(other) for other in graph[module]), default=0)

    # Raises where there is a cycle.
    order = list(TopologicalSorter(graph).static_order())
    assert max(map(depth, order)) <= 15


def test_what_is_private_stays_in_its_room() -> None:
    crossed = [
        f"{module}: {other}.{name}"
        for module in TREES
        for other, name in taken(module)
        if room_of(other) != room_of(module)
        and any(part.startswith("_") and not part.startswith("__") for part in (*other.split("."), name))
    ]
    assert not crossed


def test_strings_that_stand_for_objects_point_at_nothing_above() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["name"] == "Rooms import downwards only")
    height = {room.strip(): -place for place, rooms in enumerate(layers) for room in rooms.split("|")}
    upward = [
        f"{module}: {named}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for named in re.findall(rf"^({NAME}[\w.]+):\w+$", node.value)
        if room_of(module) in height and height[room_of(named)] > height[room_of(module)]
    ]
    assert not upward


def test_anything_is_caught_at_two_places_only() -> None:
    broad = [
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or {"Exception", "BaseException"} & set(re.findall(r"\w+", ast.unparse(node.type))))
    ]
    assert broad == [f"{NAME}.cli.main", f"{NAME}.lm.thread_pool"]


def test_programs_and_recipes_name_objects_that_are_there() -> None:
    for path in (*(ROOT / "programs").glob("*/program.toml"), *(ROOT / "optimizers").glob("*.toml")):
        for module, name in re.findall(rf"({NAME}[\w.]+):(\w+)", path.read_text(encoding="utf-8")):
            assert name in {each for node in TREES[module].body for each in names_of(node)}, path
