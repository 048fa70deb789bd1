"""Fixtures that several rooms share. Exporting is slow, so it happens once for all tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # the tests of the runtime do without torch
    from made.exports import Exported
    from programs.elsewhere import Elsewhere

    from nuhtc.runtime.bundle.load import Bundle

# A busy machine is no failure. NUHTC_EXAMPLES=20000 turns the property tests into a fuzz run.
settings.register_profile(
    "nuhtc", deadline=None, max_examples=int(os.environ.get("NUHTC_EXAMPLES", "100"))
)
settings.load_profile("nuhtc")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums on one thread, whose order is always the same."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> "Exported":
    """A network and its bundles; leave their files as they are."""
    from made.exports import export_lite0

    return export_lite0(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="session")
def lite0_bundle(exported: "Exported") -> "Bundle":
    """A bundle that finds plenty in any tile; leave its files as they are."""
    return exported.float32


@pytest.fixture
def bundle_copy(exported: "Exported", tmp_path: Path) -> Path:
    """The folder of a real bundle, to damage or to replace."""
    return Path(shutil.copytree(exported.float32.folder, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def elsewhere() -> "Iterator[Elsewhere]":
    """A process beside this one, for TensorRT."""
    from programs.elsewhere import other_process

    with other_process() as process:
        yield process
