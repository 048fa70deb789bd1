"""What every writer promises, one suite for all of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made.made_nuclei import CLASSES, made_nuclei, made_target
from reference.validators import VALIDATORS

from nuhtc.runtime.bundle.card import NucleusClass
from nuhtc.runtime.ground.errors import OutputError
from nuhtc.runtime.nuclei.nuclei import Nuclei
from nuhtc.runtime.writers import FORMATS
from nuhtc.runtime.writers.open import open_output
from nuhtc.runtime.writers.target import Target

NAMES = (*FORMATS, "centroids")


def write(name: str, target: Target, *chunks: Nuclei) -> list[Path]:
    with open_output(name, target) as output:
        for nuclei in chunks:
            output.write(nuclei)
    return output.paths


def found(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def counted(name: str, files: list[Path]) -> int:
    """Return how many nuclei valid files hold; COCO holds each in two files."""
    return sum(map(VALIDATORS[name], files)) // (2 if name == "coco" else 1)


@pytest.mark.parametrize("name", NAMES)
class TestEveryWriter:
    @pytest.mark.parametrize("scale", [1.0, 0.25 / 0.2527])
    def test_its_files_are_valid_and_complete(
        self, name: str, tmp_path: Path, scale: float
    ) -> None:
        nuclei = made_nuclei(seed=3, scale=scale)
        files = write(name, made_target(tmp_path, side=600), nuclei)
        assert counted(name, files) == len(nuclei) > 40
        assert found(tmp_path) == sorted(files), "nothing else is left"

    def test_an_empty_slide(self, name: str, tmp_path: Path) -> None:
        nothing = Nuclei.empty(len(CLASSES))
        for chunks in ((), (nothing,)):
            files = write(name, made_target(tmp_path), *chunks)
            assert files
            assert counted(name, files) == 0

    def test_one_nucleus(self, name: str, tmp_path: Path) -> None:
        files = write(name, made_target(tmp_path), made_nuclei().take(np.array([3])))
        assert counted(name, files) == 1

    def test_any_class_name(self, name: str, tmp_path: Path) -> None:
        classes = [
            NucleusClass(text, (1, 2, 3)) for text in ('a"b\\c', "核/..", "%b ' ; --", "é\n\t")
        ]
        nuclei = made_nuclei(seed=1)
        files = write(name, made_target(tmp_path, classes=classes), nuclei)
        assert counted(name, files) == len(nuclei)
        assert all(path.is_relative_to(tmp_path) for path in files)

    @pytest.mark.parametrize("column", ["score", "probabilities", "area_px", "centroid"])
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_what_is_no_number_is_refused(
        self, name: str, tmp_path: Path, column: str, value: float
    ) -> None:
        nuclei = made_nuclei()
        values = getattr(nuclei, column).copy()
        values.flat[7] = value
        with pytest.raises(OutputError, match=column):
            write(name, made_target(tmp_path), replace(nuclei, **{column: values}))
        assert list(tmp_path.iterdir()) == []

    def test_classes_that_do_not_fit_are_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="classes"):
            write(name, made_target(tmp_path, classes=CLASSES[:2]), made_nuclei())
        assert list(tmp_path.iterdir()) == []

    def test_a_crash_leaves_no_final_file(self, name: str, tmp_path: Path) -> None:
        with (
            pytest.raises(KeyboardInterrupt),
            open_output(name, made_target(tmp_path)) as output,
        ):
            output.write(made_nuclei())
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []

    def test_a_crash_leaves_the_older_files(self, name: str, tmp_path: Path) -> None:
        files = write(name, made_target(tmp_path), made_nuclei(seed=8))
        before = {path: path.read_bytes() for path in files}
        with (
            pytest.raises(OutputError, match="disk is full"),
            open_output(name, made_target(tmp_path)) as output,
        ):
            output.write(made_nuclei(seed=9))
            raise OSError(28, "No space left on device")
        assert {path: path.read_bytes() for path in found(tmp_path)} == before

    def test_two_runs_give_the_same_bytes(self, name: str, tmp_path: Path) -> None:
        written = []
        for run in ("one", "two"):
            (tmp_path / run).mkdir()
            files = write(name, made_target(tmp_path / run), made_nuclei(seed=5))
            written.append({path.name: path.read_bytes() for path in files})
        assert written[0] == written[1]

    def test_a_read_only_folder_is_said(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OutputError, match="cannot be written"):
            write(name, made_target(tmp_path / "file"), made_nuclei())

    def test_chunks_are_one_whole(self, name: str, tmp_path: Path) -> None:
        nuclei = made_nuclei(seed=6)
        parts = [nuclei.take(part) for part in np.array_split(np.arange(len(nuclei)), 5)]
        files = write(name, made_target(tmp_path), *parts)
        assert counted(name, files) == len(nuclei)


def test_more_nuclei_than_one_block_holds(tmp_path: Path) -> None:
    few = made_nuclei(seed=7)
    many = few.take(np.arange(9000) % len(few))
    for name in ("qupath", "geoparquet", "coco"):
        assert counted(name, write(name, made_target(tmp_path), many)) == 9000


def test_a_split_qupath_file_loses_nothing(tmp_path: Path) -> None:
    nuclei = made_nuclei(seed=6)
    with open_output("qupath", made_target(tmp_path), most_objects=20) as output:
        output.write(nuclei.take(np.arange(30)))
        output.write(nuclei.take(np.arange(30, len(nuclei))))
    sizes = [VALIDATORS["qupath"](path) for path in output.paths]
    assert sum(sizes) == len(nuclei)
    assert sizes[:-1] == [20] * (len(sizes) - 1)
    assert [path.name for path in output.paths[:2]] == ["a.1.geojson.gz", "a.2.geojson.gz"]


def test_a_split_dsa_document_loses_nothing(tmp_path: Path) -> None:
    from nuhtc.runtime.writers.dsa import open_dsa

    nuclei = made_nuclei(seed=6)
    with open_dsa(made_target(tmp_path), most_bytes=6000) as output:
        for index in range(0, len(nuclei), 5):
            output.write(nuclei.take(np.arange(index, min(index + 5, len(nuclei)))))
    assert counted("dsa", output.paths) == len(nuclei)
    assert len(output.paths) > len(CLASSES)
    assert all(path.stat().st_size < 8000 for path in output.paths)


def test_documents_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    from nuhtc.runtime.writers.dsa import open_dsa

    with open_dsa(made_target(tmp_path), most_bytes=2000) as output:
        for part in np.array_split(np.arange(50), 10):
            output.write(made_nuclei(seed=6).take(part))
    files = write("dsa", made_target(tmp_path), made_nuclei(seed=6))
    assert found(tmp_path) == sorted(files)


def test_ids_are_the_same_in_every_format_and_depend_on_the_slide(tmp_path: Path) -> None:
    import gzip
    import json

    nuclei = made_nuclei(seed=2)
    ids = []
    for digest in ("sha256:1", "sha256:2"):
        (path,) = write("qupath", made_target(tmp_path, digest=digest), nuclei)
        ids.append(
            {one["id"] for one in json.loads(gzip.decompress(path.read_bytes()))["features"]}
        )
    (points,) = write("centroids", made_target(tmp_path), nuclei)
    there = {one["id"] for one in json.loads(gzip.decompress(points.read_bytes()))["features"]}
    assert len(ids[0]) == len(ids[1]) == len(there) == len(nuclei)
    assert not ids[0] & ids[1]
    assert not ids[0] & there, "both files may be imported into one image"
