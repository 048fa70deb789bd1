"""``torchrun --nproc-per-node=4 -m nuhtc.training.cli``: `nuhtc-train` in several processes."""

import sys

from nuhtc.training.cli.train import main

sys.exit(main())
