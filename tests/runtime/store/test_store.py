"""A store: whole, damaged, foreign, newer, unwritable."""

import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from fakes.oracle import OracleEngine
from made.made_nuclei import made_bundle
from made.made_store import SETTINGS, bytes_of, empty_slide, made_slide, made_store
from made.summarized import summarized

from nuhtc.runtime.ground.errors import OutputError, StoreError
from nuhtc.runtime.nuclei.view import View
from nuhtc.runtime.store.ledger import LEDGER, read_ledger
from nuhtc.runtime.store.manifest import MANIFEST
from nuhtc.runtime.store.reader import open_store
from nuhtc.runtime.store.writer import StoreWriter, remove_store

BUNDLE = made_bundle(Path("nowhere"))


def test_a_store_gives_the_nuclei_of_a_run_in_memory(tmp_path: Path) -> None:
    store = open_store(made_store(tmp_path / "a.nuclei").folder)
    assert store.manifest.parts > 2
    assert store.candidates > 150
    chunks = list(store.iter_nuclei(View()))
    nuclei, summary = summarized(made_slide(), OracleEngine(), BUNDLE, SETTINGS)
    assert sum(map(len, chunks)) == len(nuclei) == summary.nuclei
    assert np.array_equal(np.concatenate([one.coords for one in chunks]), nuclei.coords)
    assert np.array_equal(np.concatenate([one.score for one in chunks]), nuclei.score)
    assert store.ran.sum() == summary.tiles_run


def test_two_runs_leave_the_same_bytes(tmp_path: Path) -> None:
    made_store(tmp_path / "one")
    made_store(tmp_path / "two", settings=replace(SETTINGS, threads=3))
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def test_an_empty_slide_has_a_store_without_parts(tmp_path: Path) -> None:
    store = open_store(made_store(tmp_path / "a.nuclei", empty_slide()).folder)
    assert store.candidates == store.manifest.parts == store.verify() == 0


@pytest.mark.parametrize("seed", range(8))
def test_what_is_torn_is_dropped_and_run_again(tmp_path: Path, seed: int) -> None:
    """Cut the ledger or a part anywhere, or change a byte: the end is the same."""
    folder = made_store(tmp_path / "a.nuclei").folder
    whole = bytes_of(folder)
    dice = random.Random(seed)
    for _ in range(4):
        victim = folder / dice.choice([LEDGER, *(name for name in whole if "arrow" in name)])
        data = bytearray(victim.read_bytes())
        place = dice.randrange(len(data))
        if dice.random() < 0.5:
            del data[place:]
        else:
            data[place] ^= 1 << dice.randrange(8)
        victim.write_bytes(bytes(data))
        with pytest.raises(StoreError, match="nuhtc-run again"):
            open_store(folder).verify()
        made_store(folder)
        assert bytes_of(folder) == whole
        assert open_store(folder).verify() == sum(len(whole[n]) for n in whole if "arrow" in n)


def test_a_missing_part_is_run_again(tmp_path: Path) -> None:
    folder = made_store(tmp_path / "a.nuclei").folder
    whole = bytes_of(folder)
    (folder / "000001.arrow").unlink()
    with pytest.raises(StoreError, match=r"000001\.arrow"):
        open_store(folder).verify()
    made_store(folder)
    assert bytes_of(folder) == whole


def test_a_part_without_its_line_is_not_trusted(tmp_path: Path) -> None:
    folder = made_store(tmp_path / "a.nuclei").folder
    whole = bytes_of(folder)
    lines = whole[LEDGER].splitlines(keepends=True)
    (folder / LEDGER).write_bytes(lines[0] + lines[2])
    entries, length = read_ledger(folder)
    assert (len(entries), length) == (1, len(lines[0])), "the third line is out of turn"
    made_store(folder)
    assert bytes_of(folder) == whole


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tile_px": 96}, "tile 64, not 96"),
        ({"overlap_px": 16}, "overlap 32, not 16"),
        ({"min_score": 0.7}, "score 0.0, not 0.7"),
        ({"batch": 2}, "batch 4, not 2"),
        ({"flips": 2}, "flips 1, not 2"),
    ],
)
def test_another_run_is_refused_and_named(
    tmp_path: Path, change: dict[str, float], said: str
) -> None:
    folder = made_store(tmp_path / "a.nuclei").folder
    whole = bytes_of(folder)
    with pytest.raises(StoreError, match=said) as refused:
        made_store(folder, settings=replace(SETTINGS, **change))
    assert "--fresh" in str(refused.value)
    assert bytes_of(folder) == whole, "untouched"


def test_another_slide_or_model_is_refused(tmp_path: Path) -> None:
    store = made_store(tmp_path / "a.nuclei")
    with pytest.raises(StoreError, match="slide sha256"):
        made_store(store.folder, made_slide(seed=6))
    with pytest.raises(StoreError, match=r"um/px 0\.25, not 0\.5"):
        made_store(store.folder, made_slide(mpp=0.5))
    bundle = replace(store.manifest.bundle, digest="sha256:other")
    with pytest.raises(StoreError, match="model sha256:made, not sha256:other"):
        StoreWriter(store.folder, replace(store.manifest, bundle=bundle))
    with pytest.raises(StoreError, match="engine oracle, not steam"):
        StoreWriter(store.folder, replace(store.manifest, engine="steam"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "damaged"),
        (b"[]", "damaged"),
        (b'{"format": "other", "version": 1}', "damaged"),
        (b'{"format": "nuhtc-store", "version": 1}', "damaged"),
        (b'{"format": "nuhtc-store", "version": 2}', "newer"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, data: bytes, said: str) -> None:
    folder = made_store(tmp_path / "a.nuclei").folder
    (folder / MANIFEST).write_bytes(data)
    for attempt in (lambda: open_store(folder), lambda: made_store(folder)):
        with pytest.raises(StoreError, match=said):
            attempt()


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="no store"):
        open_store(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("mine")
    remove_store(tmp_path)
    assert (tmp_path / "notes.txt").exists(), "only stores are removed"


def test_an_unfinished_store_says_how_far_it_is(tmp_path: Path) -> None:
    folder = made_store(tmp_path / "a.nuclei").folder
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    (folder / LEDGER).write_bytes(lines[0])
    with pytest.raises(StoreError, match=f"1 of {len(lines)} parts"):
        open_store(folder)


def test_a_full_disk_stops_the_run_and_the_next_one_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bytes_of(made_store(tmp_path / "whole").folder)
    calls = []
    sync = os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="disk is full"):
            made_store(tmp_path / "a.nuclei")
    made_store(tmp_path / "a.nuclei")
    assert bytes_of(tmp_path / "a.nuclei") == whole


def test_what_is_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.nuclei").write_text("a file")
    with pytest.raises(OutputError, match="in the way"):
        made_store(tmp_path / "a.nuclei")


def test_the_manifest_is_readable_by_a_program(tmp_path: Path) -> None:
    store = made_store(tmp_path / "a.nuclei")
    document = orjson.loads((store.folder / MANIFEST).read_bytes())
    tiles = [tile for low, high in document["tiles"] for tile in range(low, high + 1)]
    assert tiles == store.manifest.tiles.tolist()
    assert open_store(store.folder).manifest.to_json() == store.manifest.to_json()
