"""What two processes tell each other, as JSON of each; started by `torch.distributed.run`."""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from nuhtc.training.loop.processes import processes

if __name__ == "__main__":
    with processes(torch.device("cpu")) as group:
        layer = nn.BatchNorm1d(2)
        layer.weight.grad = torch.full((2,), 1.0 + 2 * group.rank)
        assert layer.running_mean is not None
        layer.running_mean.fill_(10.0 * group.rank)
        group.average_gradients(layer)
        group.average_buffers(layer)
        own = group.share([f"item {i}" for i in range(5)])
        group.wait()
        answer = {
            "rank": group.rank,
            "own": own,
            "all": group.gather(own),
            "gradient": layer.weight.grad.tolist(),
            "mean": layer.running_mean.tolist(),
        }
        Path(sys.argv[1], f"{group.rank}.json").write_text(json.dumps(answer), "utf-8")
