"""Memory that is asked for again and again is mapped once."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from nuhtc.training.memory import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("not told")
def work():
    for _ in range(20):
        torch.empty(16 << 20).fill_(1.0)  # 64 MB
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **more: str) -> int:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "LD_PRELOAD"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], env=clean | more, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's mallopt is Linux's")
def test_pages_are_made_once() -> None:
    assert faults("leave") > 20 * 100, "else there is nothing to mend"
    assert faults("keep") < 100


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's mallopt is Linux's")
def test_who_has_set_the_allocator_up_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from nuhtc.training.memory import keep_freed_memory

    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()
