"""The summary: documented, sorted, the same in every run but for the seconds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import nuhtc.runtime.results.summary as module
from nuhtc.runtime.bundle.card import BundleFacts
from nuhtc.runtime.ground.errors import OutputError
from nuhtc.runtime.ground.versions import printable
from nuhtc.runtime.pipeline.clock import STAGES
from nuhtc.runtime.results.summary import Summary, write_summary
from nuhtc.runtime.slides.slide import SlideFacts

SUMMARY = Summary(
    slide=SlideFacts("a.svs", "sha256:1", 2000, 1000, 0.5),
    bundle=BundleFacts("lite0", "sha256:2", 0.25),
    engine="cpu",
    settings={"tile_px": 256, "min_area_um2": 2.0},
    nuclei_per_class={"Zeta": 30, "Alpha": 10},
    nuclei_cut=1,
    tissue_mm2=0.2,
    tiles_run=7,
    tiles_skipped_px=((0, 0, 512, 512),),
    seconds={"tissue": 0.5, "network": 3.0, "write": 0.5},
    outputs=("a.geojson.gz", "a.overlay.png"),
)


def test_every_key_is_documented() -> None:
    for key in SUMMARY.as_dict():
        assert f"\n{key} " in module.__doc__
    for stage in STAGES:
        assert f"`{stage}`" in module.__doc__


def test_the_derived_numbers() -> None:
    read = json.loads(SUMMARY.as_json())
    assert read["nuclei"] == 40
    assert read["nuclei_per_mm2"] == 200
    assert read["seconds"]["total"] == 4
    assert set(read["seconds"]) == {*STAGES, "total"}
    assert read["seconds_per_mm2"] == 20
    assert read["seconds_per_tile"] == 0.5
    assert read["tiles"] == {"run": 7, "skipped": 1}
    assert read["tiles_skipped_px"] == [[0, 0, 512, 512]]
    assert "numpy" in read["versions"]


def test_a_slide_without_tissue_has_no_rates() -> None:
    empty = replace(SUMMARY, tissue_mm2=0.0, tiles_run=0, tiles_skipped_px=())
    read = json.loads(empty.as_json())
    assert read["nuclei_per_mm2"] is None
    assert read["seconds_per_mm2"] is None
    assert read["seconds_per_tile"] is None
    assert "40 nuclei" in empty.as_text(Path("out"))


def test_only_keys_that_say_seconds_differ_between_runs(tmp_path: Path) -> None:
    again = replace(SUMMARY, seconds={"network": 9.0})
    texts = []
    for name, summary in (("a", SUMMARY), ("b", again)):
        write_summary(tmp_path / name, summary)
        text = (tmp_path / name).read_text()
        kept = {k: v for k, v in json.loads(text).items() if not k.startswith("seconds")}
        texts.append(json.dumps(kept))
        keys = [line.split('"')[1] for line in text.splitlines() if line.startswith('  "')]
        assert keys == sorted(keys)
    assert texts[0] == texts[1]


def test_one_line_for_programs_and_a_few_for_people() -> None:
    assert b"\n" not in SUMMARY.as_json()
    text = SUMMARY.as_text(Path("out"))
    assert "40 nuclei" in text
    assert "Zeta 30, Alpha 10" in text, "the classes keep the model's order"
    assert "1 of 8 tiles skipped" in text
    assert "out/a.geojson.gz" in text
    assert len(text.splitlines()) < 10


def test_names_that_are_not_utf8_are_written(tmp_path: Path) -> None:
    name = printable("M\udcfcller.svs")
    assert name.isprintable()
    write_summary(tmp_path / "a", replace(SUMMARY, slide=replace(SUMMARY.slide, file=name)))


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="summary"):
        write_summary(tmp_path / "none" / "a.summary.json", SUMMARY)
