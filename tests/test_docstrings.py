"""Docstrings: what a function does is told in the imperative, and fields are told where they stand.

Properties, classes and modules are things, so theirs say what they are.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).parents[1]

TOPS: Final = ("native", "runtime", "training", "export")
SOURCES = sorted(
    path
    for top in TOPS
    for path in (ROOT / top).rglob("*.py*")
    if path.suffix in {".py", ".pyi"} and "__pycache__" not in path.parts
)

_VERBS: Final = """
Add Assign Attend Begin Blur Bring Build Cast Change Check Choose Clear Close Compare Compress
Corrupt Count Crop Cut Decide Decode Describe Do Double Draw Drop Encode Enlarge Enter Evaluate
Export Fill Find Flush Give Hand Hold Import Join Keep Let Load Look Make Mark Match Measure Move
Multiply Number Open Pack Paint Pair Parse Paste Plot Predict Print Put Raise Read Record Reduce
Refuse Release Remove Rename Replace Resample Reserve Return Rewrite Round Run Sample Save Say See
Segment Send Settle Show Shrink Split Stitch Store Take Tell Time Trace Train Turn Undo Unpack
Wait Write
"""

VERBS: Final = frozenset(_VERBS.split())
"""What the docstring of a function or method may begin with; `Give` where it yields."""

PROPERTIES: Final = {"property", "cached_property", "setter", "deleter"}

FIELD_SECTIONS: Final = ("Parameters\n", "Attributes\n")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def last_name(node: ast.expr) -> str:
    """Return the last name of a decorator or base: `dataclass` of `dataclasses.dataclass()`."""
    if isinstance(node, ast.Call):
        node = node.func
    return ast.unparse(node).rpartition(".")[2]


def functions(tree: ast.Module | ast.ClassDef) -> Iterator[Function]:
    """Give the functions and methods that are no properties, dunder methods or nested ones."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, Function):
            dunder = node.name.startswith("__") and node.name.endswith("__")
            if not dunder and not PROPERTIES & set(map(last_name, node.decorator_list)):
                yield node
        else:
            waiting.extend(ast.iter_child_nodes(node))


def yields(function: Function) -> bool:
    """Tell whether a function itself is a generator, whatever functions it holds."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, Function | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return False


def wrong_beginnings(tree: ast.Module) -> list[str]:
    """Return what is wrong about the first words of functions' docstrings."""
    wrong = []
    for function in functions(tree):
        text = ast.get_docstring(function)
        if text is None:
            continue
        word = text.split()[0].rstrip(",")
        place = f"line {function.lineno}, {function.name}: {word!r}"
        if word not in VERBS:
            wrong.append(f"{place}: begin with a verb in the imperative, or add it to VERBS")
        elif word == "Give" and not yields(function):
            wrong.append(f"{place}: it yields nothing, so let it 'Return'")
    return wrong


def has_fields(node: ast.ClassDef) -> bool:
    """Tell whether a class is a dataclass or a named tuple."""
    return "dataclass" in map(last_name, node.decorator_list) or "NamedTuple" in map(
        last_name, node.bases
    )


def field_sections(tree: ast.Module) -> list[str]:
    """Return the classes whose docstrings tell of fields that could tell of themselves."""
    return [
        f"line {node.lineno}, {node.name}: document each field right under it"
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and has_fields(node)
        if any(section in (ast.get_docstring(node) or "") for section in FIELD_SECTIONS)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_functions_say_what_they_do(path: Path) -> None:
    assert wrong_beginnings(ast.parse(path.read_text("utf-8"))) == []


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_fields_say_what_they_are(path: Path) -> None:
    assert field_sections(ast.parse(path.read_text("utf-8"))) == []


SAMPLE: Final = '''
from dataclasses import dataclass
import typing

@dataclass(frozen=True)
class Box:
    """A box.

    Parameters
    ----------
    side
        In pixels.
    """

    side: int

    @property
    def area(self) -> int:
        """Its area."""

    def __len__(self) -> int:
        """How long it is."""

    def _grown(self) -> "Box":
        """A larger one."""

class Pair(typing.NamedTuple):
    """Two.

    Attributes
    ----------
    first
        One of them.
    """

    first: int

class Plain:
    """What is no dataclass.

    Parameters
    ----------
    side
        In pixels.
    """

if True:
    def early() -> int:
        """Give a number."""
        def inner() -> Iterator[int]:
            """The inner one."""
            yield 1

def late() -> Iterator[int]:
    """Give numbers."""
    yield 1

def good() -> int:
    """Return, always, a number."""
'''


def test_the_checker_finds_what_it_forbids() -> None:
    tree = ast.parse(SAMPLE)
    assert {function.name for function in functions(tree)} == {"_grown", "early", "late", "good"}
    grown, early = wrong_beginnings(tree)
    assert "early: 'Give': it yields nothing" in early
    assert "_grown: 'A': begin with a verb in the imperative, or add it to VERBS" in grown
    box, pair = field_sections(tree)
    assert "Box" in box and "Pair" in pair
