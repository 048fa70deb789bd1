"""Which engine is taken, why, and that one that was named is never replaced."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made.toy_bundle import toy_bundle

from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.engines import open as opening
from nuhtc.runtime.engines.names import AUTO_ORDER, ENGINES, GPU_ENGINES, PRECISIONS, PRECISIONS_OF
from nuhtc.runtime.engines.open import open_engine
from nuhtc.runtime.ground.errors import BundleError, EngineError, UsageError


@pytest.fixture
def toy(tmp_path: Path) -> Bundle:
    return toy_bundle(tmp_path / "toy")


class NamedGraphs:
    """Graphs that are only opened."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the engines that work here; the others say that they are not installed."""
    names: set[str] = set()

    def backend(name: str):  # type: ignore[no-untyped-def]
        def load(bundle: Bundle, precision: str, threads: int) -> NamedGraphs:
            if name not in names:
                raise EngineError(f"{name}: not installed")
            return NamedGraphs(name)

        return load

    monkeypatch.setattr(opening, "_BACKENDS", {name: backend(name) for name in PRECISIONS_OF})
    return names


def with_half(bundle: Bundle) -> Bundle:
    graphs = bundle.card.precisions["fp32"]
    return replace(bundle, card=replace(bundle.card, precisions={"fp32": graphs, "fp16": graphs}))


def test_a_gpu_comes_before_the_cpu(toy: Bundle, works: set[str]) -> None:
    works |= {"cpu", "openvino"}
    assert open_engine(toy).name not in GPU_ENGINES
    works.add("cuda")
    assert open_engine(toy).name == "cuda"
    works.add("tensorrt-rtx")
    assert open_engine(toy).name == "tensorrt-rtx"


def test_on_a_cpu_openvino_is_for_what_only_it_computes_in(toy: Bundle, works: set[str]) -> None:
    works |= {"cpu", "openvino"}
    assert open_engine(toy).name == "cpu"
    assert open_engine(toy, "auto", "bf16").name == "openvino"


def test_the_reason_names_what_does_not_work(toy: Bundle, works: set[str]) -> None:
    works.add("cpu")
    reason = open_engine(toy).reason
    for name in GPU_ENGINES:
        assert f"{name}: not installed" in reason
    assert "\n" not in reason


def test_auto_takes_half_precision_only_on_a_gpu(toy: Bundle, works: set[str]) -> None:
    works |= {"cpu", "cuda"}
    assert open_engine(toy).precision == "fp32"
    assert open_engine(with_half(toy)).precision == "fp16"
    works.remove("cuda")
    assert open_engine(with_half(toy)).precision == "fp32"


@pytest.mark.parametrize("name", PRECISIONS_OF)
def test_one_that_was_named_is_taken_or_refused(toy: Bundle, works: set[str], name: str) -> None:
    works |= set(PRECISIONS_OF) - {name}
    with pytest.raises(EngineError, match=f"^{name}: not installed"):
        open_engine(toy, name)
    works.add(name)
    engine = open_engine(toy, name)
    assert (engine.name, engine.reason) == (name, "named")


def test_nothing_works(toy: Bundle, works: set[str]) -> None:
    with pytest.raises(EngineError, match=r"^cpu: not installed$"):
        open_engine(toy)
    with pytest.raises(EngineError, match=r"^openvino: not installed$"):
        open_engine(toy, "auto", "bf16")


def test_an_engine_without_the_precision_named(toy: Bundle, works: set[str]) -> None:
    works |= set(PRECISIONS_OF)
    with pytest.raises(UsageError, match="cuda does not compute in bf16; it has fp16, fp32"):
        open_engine(toy, "cuda", "bf16")


def test_a_precision_that_the_bundle_lacks(toy: Bundle) -> None:
    with pytest.raises(BundleError, match="no fp16 graphs"):
        open_engine(toy, "cpu", "fp16")


@pytest.mark.parametrize(("name", "precision"), [("steam", "auto"), ("auto", "fp3")])
def test_names_nobody_knows(toy: Bundle, name: str, precision: str) -> None:
    with pytest.raises(UsageError, match=r"(steam|fp3).*choose from auto, "):
        open_engine(toy, name, precision)


def test_the_names_are_complete() -> None:
    assert set(PRECISIONS_OF) == set(ENGINES) - {"auto"}
    assert {name for name, _ in AUTO_ORDER} == set(ENGINES) - {"auto"}
    assert {p for own in PRECISIONS_OF.values() for p in own} == set(PRECISIONS) - {"auto"}


@pytest.mark.slow
def test_the_summary_says_which_engine_and_why(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    import numpy as np
    from PIL import Image

    from nuhtc.runtime.cli.run import main

    Image.fromarray(np.full((256, 256, 3), 230, np.uint8)).save(tmp_path / "pale.png")
    options = ["--out", str(tmp_path / "out"), "--json", "--verbose"]
    assert main([str(tmp_path / "pale.png"), *options]) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    line = f"engine {summary['engine']}, {summary['precision']}: {summary['engine_reason']}"
    assert line in printed.err
    assert summary["precision"] == "fp32"
    assert main([str(tmp_path / "pale.png"), *options, "--engine", "cuda"]) == 1
    assert "nuhtc-run: cuda: " in capsys.readouterr().err
