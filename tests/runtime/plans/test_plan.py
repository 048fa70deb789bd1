from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.toy_bundle import toy_bundle

from nuhtc.runtime.bundle.card import GRAPHS, FileDigest
from nuhtc.runtime.bundle.load import Bundle
from nuhtc.runtime.ground.errors import EngineError
from nuhtc.runtime.plans.layout import most_bytes, parts_of, shape_of
from nuhtc.runtime.plans.plan import Binding, Here, Plan, Span, misfit, plan_name, read_plan

PLAN = Plan(
    graph="heads",
    precision="fp32",
    graph_sha256="",
    tensorrt="tensorrt",
    version="10.9.0",
    version_compatible=False,
    gpu="NVIDIA GeForce RTX 4090",
    compute_capabilities=("8.9",),
    compatibility="none",
    tile=256,
    batch=Span(1, 8, 16),
    regions=Span(1, 100, 200),
    exact_side=224.0,
    inputs=(
        Binding("fine4", "float16", ("batch", 64, 128, 128)),
        Binding("regions", "float32", ("regions", 4)),
    ),
    outputs=(Binding("boxes", "float32", ("regions", 4)),),
    file=FileDigest("0" * 64, 7),
)
HERE = Here("tensorrt", "10.9.0", "NVIDIA GeForce RTX 4090", "8.9")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return toy_bundle(tmp_path / "toy")


@pytest.fixture
def plan(bundle: Bundle) -> Plan:
    return replace(PLAN, graph_sha256=bundle.card.files["heads.onnx"].sha256)


spans = st.lists(st.integers(1, 5000), min_size=3, max_size=3).map(lambda x: Span(*sorted(x)))


@given(
    graph=st.sampled_from(GRAPHS),
    batch=spans,
    regions=spans,
    exact_side=st.floats(0, 1e4),
    compatible=st.booleans(),
)
def test_a_card_says_all_of_a_plan(
    tmp_path_factory: pytest.TempPathFactory,
    graph: str,
    batch: Span,
    regions: Span,
    exact_side: float,
    compatible: bool,
) -> None:
    plan = replace(
        PLAN,
        graph=graph,
        batch=batch,
        regions=regions,
        exact_side=exact_side,
        version_compatible=compatible,
    )
    path = tmp_path_factory.mktemp("card") / "x.json"
    path.write_bytes(plan.to_json())
    assert read_plan(path) == plan


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "heads.fp32.nvidia-geforce-rtx-4090.trt-10.9.0.plan"),
        ({"compatibility": "same_compute_capability"}, "heads.fp32.sm89.trt-10.9.0.plan"),
        ({"compatibility": "ampere_plus"}, "heads.fp32.ampere-plus.trt-10.9.0.plan"),
        (
            {
                "compatibility": "listed",
                "compute_capabilities": ("8.6", "12.0"),
                "tensorrt": "tensorrt-rtx",
                "version": "1.7.1",
            },
            "heads.fp32.sm86-sm120.rtx-1.7.1.plan",
        ),
    ],
)
def test_names_tell_plans_apart(changes: dict[str, object], name: str) -> None:
    assert plan_name(replace(PLAN, **changes)) == name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "here", "reason"),
    [
        ({}, {}, ""),
        ({"graph_sha256": "1" * 64}, {}, "built from another heads.onnx than the bundle's"),
        ({"tensorrt": "tensorrt-rtx"}, {}, "built with tensorrt-rtx, and this is tensorrt"),
        ({}, {"version": "10.9.1"}, "built with tensorrt 10.9.0, and this is 10.9.1"),
        ({"version_compatible": True}, {"version": "10.10.0"}, ""),
        ({"version_compatible": True}, {"version": "11.0.0"}, ""),
        ({"version_compatible": True}, {"version": "10.8.2"}, "10.9.0, later than this one"),
        ({}, {"gpu": "NVIDIA L40"}, "built for NVIDIA GeForce RTX 4090, and this is NVIDIA L40"),
        ({"compatibility": "same_compute_capability"}, {"gpu": "NVIDIA L40"}, ""),
        (
            {"compatibility": "same_compute_capability"},
            {"gpu": "NVIDIA A10", "compute_capability": "8.6"},
            "built for compute capability 8.9, and NVIDIA A10 has 8.6",
        ),
        ({"compatibility": "ampere_plus"}, {"gpu": "B200", "compute_capability": "10.0"}, ""),
        (
            {"compatibility": "ampere_plus"},
            {"gpu": "T4", "compute_capability": "7.5"},
            "8.0 and later, and T4 has 7.5",
        ),
        (
            {"compatibility": "listed", "compute_capabilities": ("8.6", "12.0")},
            {},
            "built for compute capability 8.6, 12.0, and NVIDIA GeForce RTX 4090 has 8.9",
        ),
    ],
)
def test_where_a_plan_runs(
    bundle: Bundle,
    plan: Plan,
    changes: dict[str, object],
    here: dict[str, str],
    reason: str,
) -> None:
    found = misfit(replace(plan, **changes), bundle, replace(HERE, **here))  # type: ignore[arg-type]
    assert found == reason if not reason else reason in found


@pytest.mark.parametrize(
    "change",
    [
        {"format": "nuhtc-bundle"},
        {"version_of_format": 2},
        {"graph": "tail"},
        {"version": "ten"},
        {"compute_capabilities": []},
        {"compatibility": "all"},
        {"tile": 0},
        {"batch": {"least": 2, "best": 1, "most": 3}},
        {"regions": [1, 2, 3]},
        {"inputs": [{"name": "fine4", "dtype": "float64", "shape": [1]}]},
        {"outputs": [{"name": "boxes", "dtype": "float32", "shape": ["tiles", 4]}]},
        {"file": None},
        {"surplus": 1},
    ],
)
def test_a_card_that_no_export_wrote(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(orjson.dumps(orjson.loads(PLAN.to_json()) | change))
    with pytest.raises(EngineError, match=r"x\.json: damaged or of another version"):
        read_plan(path)


def test_a_card_that_is_no_json_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(EngineError, match=r"x\.json: cannot be read"):
        read_plan(path)
    path.write_bytes(b"[]")
    with pytest.raises(EngineError, match=r"x\.json: damaged"):
        read_plan(path)


@given(count=st.integers(0, 5000), span=spans)
def test_parts_hold_every_region_once(count: int, span: Span) -> None:
    parts = list(parts_of(count, replace(PLAN, regions=span)))
    assert [i for first, last, _ in parts for i in range(first, last)] == list(range(count))
    for first, last, size in parts:
        assert span.least <= size <= span.most
        assert last - first <= size


@given(batch=st.integers(1, 16), regions=st.integers(1, 200))
def test_no_call_needs_more_than_the_most_bytes(batch: int, regions: int) -> None:
    fine4, boxes = PLAN.inputs
    assert shape_of(fine4, batch, regions) == (batch, 64, 128, 128)
    assert shape_of(boxes, batch, regions) == (regions, 4)
    assert most_bytes(fine4, PLAN) == 16 * 64 * 128 * 128 * 2
    assert most_bytes(boxes, PLAN) == 200 * 4 * 4
