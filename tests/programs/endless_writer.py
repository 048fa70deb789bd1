"""Writes one format again and again until it is killed."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from made.made_nuclei import made_nuclei, made_target

from nuhtc.runtime.writers.open import open_output

if __name__ == "__main__":
    name, folder = sys.argv[1], Path(sys.argv[2])
    nuclei = made_nuclei(seed=3)
    print("ready", flush=True)
    while True:
        with open_output(name, made_target(folder)) as output:
            for part in np.array_split(np.arange(len(nuclei)), 6):
                output.write(nuclei.take(part))
