"""The house's rules: who may import whom, and what a run never loads."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ALLOWED = {
    "training": {"training", "native"},
    "export": {
        "export",
        "training",
        "runtime.atomic",
        "runtime.bundle",
        "runtime.bundle_archive",
        "runtime.errors",
        "runtime.plans",
        "runtime.tensorrt_module",
    },
    "runtime": {"runtime", "native"},
    "native": {"native"},
}
"""What each room may import of the project; a module's name stands for all below it."""

EXCEPTIONS = {
    "training/run_folder.py": {"runtime.lock"},
    "training/predictions/bundle_model.py": {"runtime"},
    "training/cli/evaluate.py": {"runtime.arguments"},
    "training/inference.py": {"runtime.calibration"},
    "export/proof/prove.py": {"runtime.engines.open"},
    "export/proof/tune.py": {"runtime.calibration", "runtime.detections", "runtime.engines.open"},
    "export/proof/quality.py": {"runtime.detections"},
}
"""What single files may import besides: to measure a bundle is to run it, with the same
engines, a lock is a lock, and scores are calibrated in one way."""

FOREIGN = {
    "runtime": {"torch", "torchvision", "timm", "onnx", "onnxscript", "matplotlib"},
    "native": {"torch", "torchvision", "timm", "onnx", "onnxruntime", "openslide", "PIL"},
}
"""What each room may not import of others, though another room needs it."""

SOURCES = sorted(
    path
    for room in ALLOWED
    for path in (ROOT / room).rglob("*.py*")
    if path.suffix in {".py", ".pyi"}
)
CYTHON = sorted((ROOT / "native").glob("*.p[yx][xd]"))


def imported(path: Path) -> set[str]:
    """Return the dotted names a file imports; relative ones keep their dots."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def ours(names: set[str]) -> set[str]:
    return {name.removeprefix("nuhtc.") for name in names if name.startswith("nuhtc.")}


def is_allowed(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(one + ".") for one in allowed)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    place = path.relative_to(ROOT)
    room = place.parts[0]
    names = imported(path)
    allowed = ALLOWED[room] | EXCEPTIONS.get(place.as_posix(), set())
    wrong = {name for name in ours(names) if not is_allowed(name, allowed)}
    wrong |= {name for name in names if name.split(".")[0] in FOREIGN.get(room, set())}
    wrong |= {name for name in names if name.split(".")[0] in ALLOWED}
    assert not wrong, f"{room} must not import {sorted(wrong)}"
    assert not any(name.startswith(".") for name in names), "imports are absolute"


@pytest.mark.parametrize("path", CYTHON, ids=lambda path: path.name)
def test_kernels_import_nothing_of_other_rooms(path: Path) -> None:
    lines = [line for line in path.read_text("utf-8").splitlines() if "import" in line]
    found = [re.match(r"\s*(?:from|c?import)\s+([\w.]+)", line) for line in lines]
    names = {match[1] for match in found if match}
    assert not any(name.startswith(".") for name in names), "no relative cimport"
    assert all(is_allowed(name, {"native"}) for name in ours(names))
    assert not {name.split(".")[0] for name in names} & {"runtime", "training", "export"}


def test_the_rule_finds_what_it_forbids(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(
        "def late():\n    import torch.nn\n    from nuhtc.training.objective.losses import x\n"
        "from nuhtc import export\nfrom . import grid\nimport runtime.grid\n"
    )
    names = imported(path)
    assert names == {
        "torch.nn",
        "nuhtc.training.objective.losses.x",
        "nuhtc.export",
        "..grid",
        "runtime.grid",
    }
    assert not any(is_allowed(name, ALLOWED["runtime"]) for name in ours(names))


def test_the_namespace_has_no_code_of_its_own() -> None:
    assert not (ROOT / "__init__.py").exists()
    for room in ALLOWED:
        tree = ast.parse((ROOT / room / "__init__.py").read_text("utf-8"))
        assert ast.get_docstring(tree)
        assert (ROOT / room / "py.typed").exists()


def test_files_hold_one_idea() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
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
    "code",
    [
        "import nuhtc.runtime, nuhtc.runtime.cli.run, nuhtc.runtime.bench.timings",
        "import nuhtc.runtime.pipeline.segment, nuhtc.runtime.results.outputs",
        "import nuhtc.runtime.engines.open, nuhtc.runtime.engines.onnxruntime",
        "import nuhtc.runtime.cli.convert, nuhtc.runtime.readers.open",
        "import nuhtc.native.outlines, nuhtc.native.proposals, nuhtc.native.stitch",
    ],
)
def test_a_run_never_loads_torch(code: str) -> None:
    modules = loaded(code)
    assert any(module.startswith("nuhtc.") for module in modules)
    tops = {module.split(".")[0] for module in modules}
    assert not tops & {"torch", "torchvision", "timm", "onnx", "onnxscript"}


def test_the_commands_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    entries = {
        entry.name: entry
        for entry in metadata.distribution("nuhtc").entry_points
        if entry.group == "console_scripts"
    }
    assert set(entries) == set(project["scripts"])
    for name in (
        "nuhtc-run",
        "nuhtc-train",
        "nuhtc-eval",
        "nuhtc-prepare",
        "nuhtc-export",
        "nuhtc-convert",
    ):
        module = entries[name].module.removeprefix("nuhtc.").replace(".", "/")
        assert (ROOT / f"{module}.py").exists()
    assert callable(entries["nuhtc-run"].load())
