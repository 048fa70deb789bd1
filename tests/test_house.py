"""The house: one list of rooms, from the ground up, and what a run never loads.

A file may import from its own room and from rooms earlier in the list, and within a room files
make no circle. A room called `cli` is a door: nobody imports from it. There is no allowance for
a single file. CONTRIBUTING.md says what each room is for.
"""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pytest
import setuptools

ROOT = Path(__file__).parents[1]

HOUSE: Final = (
    "native",
    "runtime/ground",
    "runtime/console",
    "runtime/bundle",
    "runtime/slides",
    "runtime/tiles",
    "runtime/nuclei",
    "runtime/stitching",
    "runtime/store",
    "runtime/plans",
    "runtime/engines",
    "runtime/pipeline",
    "runtime/writers",
    "runtime/readers",
    "runtime/results",
    "runtime/demo",
    "runtime/bench",
    "runtime",
    "runtime/cli",
    "training/data",
    "training/network",
    "training/checkpoints",
    "training/augmentation",
    "training/objective",
    "training/measures",
    "training/predictions",
    "training/evaluation",
    "training/loop",
    "training/cli",
    "export/graphs",
    "export/tensorrt",
    "export/proof",
    "export/cli",
)
"""Every room, from the ground up."""

FACES: Final = ("training", "export")
"""Folders of rooms whose own `__init__` holds nothing but its purpose; `runtime`'s is the API."""

FOREIGN: Final = {"torch", "torchvision", "timm", "onnx", "onnxscript", "matplotlib"}
"""What no room before `training/network` may import."""

NATIVE_FOREIGN: Final = {*FOREIGN, "onnxruntime", "openslide", "PIL"}

TOPS: Final = ("native", "runtime", "training", "export")
SOURCES = sorted(
    path
    for top in TOPS
    for path in (ROOT / top).rglob("*.py*")
    if path.suffix in {".py", ".pyi"} and "__pycache__" not in path.parts
)
CYTHON = sorted((ROOT / "native").glob("*.p[yx][xd]"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return path.parent.relative_to(ROOT).as_posix()


def imported(text: str) -> set[str]:
    """Return the dotted names a file imports, wherever in it; relative ones keep their dots.

    A table called `_WHERE`, from names to the modules that they are loaded from when they are
    asked for, counts as imports of these modules.
    """
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_WHERE":
            assert isinstance(node.value, ast.Dict)
            names |= {ast.literal_eval(value) for value in node.value.values}
    return names


def file_of(name: str, root: Path = ROOT) -> Path | None:
    """Return the project's file that an imported name comes from; None: it is nobody's here."""
    first, *rest = name.split(".")
    if first != "nuhtc" or not rest:
        return None
    for parts in (rest, rest[:-1]):
        place = root.joinpath(*parts)
        for file in (place.with_suffix(".py"), place.with_suffix(".pyi"), place / "__init__.py"):
            if parts and file.exists():
                return file
    return None


def targets(path: Path, root: Path = ROOT) -> Iterator[Path]:
    """Give the project's files that a file imports."""
    for name in sorted(imported(path.read_text("utf-8"))):
        file = file_of(name, root)
        if file is not None and file != path:
            yield file


def wrong_arrow(source: str, target: str) -> str | None:
    """Return what is wrong about a room that imports from another; None if nothing is."""
    if source == target:
        return None
    if target not in HOUSE:
        return "imports what is no room"
    if target.endswith("/cli"):
        return "imports from a door"
    if HOUSE.index(target) > HOUSE.index(source):
        return "imports from a room above it"
    return None


def circles(arrows: dict[Path, set[Path]]) -> list[set[Path]]:
    """Return the sets of files that reach one another, by what each reaches."""
    reached: dict[Path, set[Path]] = {}
    for start in arrows:
        seen: set[Path] = set()
        waiting = list(arrows[start])
        while waiting:
            path = waiting.pop()
            if path not in seen:
                seen.add(path)
                waiting.extend(arrows.get(path, ()))
        reached[start] = seen
    found: list[set[Path]] = []
    for start, seen in reached.items():
        if start in seen and not any(start in circle for circle in found):
            found.append({path for path in seen if start in reached.get(path, ())})
    return found


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_arrows_go_down(path: Path) -> None:
    room = room_of(path)
    names = imported(path.read_text("utf-8"))
    assert not any(name.startswith(".") for name in names), "imports are absolute"
    tops = {name.split(".")[0] for name in names}
    assert not tops & set(TOPS), "the folders are called nuhtc.<folder>"
    assert "nuhtc" not in names, "import a module of it"
    if room in FACES:
        assert not names
        return
    assert room in HOUSE
    wrong = {named(to): why for to in targets(path) if (why := wrong_arrow(room, room_of(to)))}
    assert not wrong
    if HOUSE.index(room) < HOUSE.index("training/network"):
        assert not tops & (NATIVE_FOREIGN if room == "native" else FOREIGN)


def test_files_make_no_circle() -> None:
    arrows = {path: set(targets(path)) for path in SOURCES}
    assert sum(map(len, arrows.values())) > 500
    assert circles(arrows) == []


def test_every_room_says_what_it_is_for() -> None:
    folders = {room_of(path) for path in SOURCES}
    assert folders == {*HOUSE, *FACES}
    for room in folders:
        tree = ast.parse((ROOT / room / "__init__.py").read_text("utf-8"))
        assert ast.get_docstring(tree), room
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for room in HOUSE:
        assert f"`{room}`" in contributing, f"CONTRIBUTING.md does not name {room}"


def test_the_rule_finds_what_it_forbids(tmp_path: Path) -> None:
    assert wrong_arrow("runtime/slides", "runtime/tiles") == "imports from a room above it"
    assert wrong_arrow("export/proof", "runtime/cli") == "imports from a door"
    assert wrong_arrow("export/proof", "runtime/nowhere") == "imports what is no room"
    assert wrong_arrow("runtime/tiles", "runtime/slides") is None
    for name, text in {
        "runtime/slides/a.py": "def late():\n    from nuhtc.runtime.tiles.b import B\n",
        "runtime/tiles/b.py": "if TYPE_CHECKING:\n    from nuhtc.runtime.slides import a\n",
        "runtime/__init__.py": "_WHERE: dict[str, str] = {'B': 'nuhtc.runtime.tiles.b'}\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    a, b = tmp_path / "runtime/slides/a.py", tmp_path / "runtime/tiles/b.py"
    assert list(targets(a, tmp_path)) == [b]
    assert list(targets(b, tmp_path)) == [a]
    assert list(targets(tmp_path / "runtime/__init__.py", tmp_path)) == [b]
    assert circles({a: {b}, b: {a}}) == [{a, b}]
    assert imported("from . import grid\nimport torch.nn\n") == {"..grid", "torch.nn"}


@pytest.mark.parametrize("path", CYTHON, ids=lambda path: path.name)
def test_kernels_import_nothing_of_other_rooms(path: Path) -> None:
    lines = [line for line in path.read_text("utf-8").splitlines() if "import" in line]
    found = [re.match(r"\s*(?:from|c?import)\s+([\w.]+)", line) for line in lines]
    names = {match[1] for match in found if match}
    assert not any(name.startswith(".") for name in names), "no relative cimport"
    assert all(name.startswith("nuhtc.native") for name in names if name.startswith("nuhtc"))
    assert not {name.split(".")[0] for name in names} & {"runtime", "training", "export"}


def test_the_namespace_has_no_code_of_its_own() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert all((ROOT / top / "py.typed").exists() for top in TOPS)


def test_the_wheel_holds_every_room(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", told.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    assert {name.removeprefix("nuhtc.").replace(".", "/") for name in told["packages"]} == {
        *HOUSE,
        *FACES,
    }


def test_files_hold_one_idea() -> None:
    long = {
        named(path): lines
        for path in [*SOURCES, *CYTHON]
        if (lines := len(path.read_text("utf-8").splitlines())) > 330
    }
    assert not long, "about 300 lines at most"


def loaded(code: str) -> set[str]:
    """Return the modules a fresh interpreter loads, as `-X importtime` lists them."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize(
    "room", [room for room in HOUSE if HOUSE.index(room) < HOUSE.index("training/network")]
)
def test_what_runs_slides_never_loads_torch(room: str) -> None:
    files = sorted((ROOT / room).glob("*.py"))
    modules = {named(file).removesuffix(".py").replace("/", ".") for file in files}
    if room == "native":
        modules = {f"native.{path.stem}" for path in CYTHON if path.suffix == ".pyx"}
    # They are imported by name where they are used, and need a GPU.
    modules -= {"runtime.plans.cuda_device", "runtime.engines.tensorrt"}
    names = sorted(f"nuhtc.{module.removesuffix('.__init__')}" for module in modules)
    found = loaded(f"import {', '.join(names)}")
    assert set(names) <= found
    assert not {module.split(".")[0] for module in found} & FOREIGN


def test_the_commands_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    entries = {
        entry.name: entry
        for entry in metadata.distribution("nuhtc").entry_points
        if entry.group == "console_scripts"
    }
    assert set(entries) == set(project["scripts"])
    for name, entry in entries.items():
        assert entry.value == project["scripts"][name]
        assert entry.module.split(".")[-2] == "cli", "a command is a door of the house"
        assert callable(entry.load())


def test_the_map_names_files_that_are_there() -> None:
    """A file named alone lies in the folder of the one before it."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    found = 0
    for line in text.splitlines():
        folder = ROOT
        for name in re.findall(r"`([\w/]+\.(?:py|pyx|pxd))`", line):
            path = ROOT / name if "/" in name else folder / name
            assert path.exists(), line
            folder, found = path.parent, found + 1
    assert found > 30
