"""The published network's bundles. Exporting is slow, so it happens once for all tests."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from made.exports import Exported


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> "Exported":
    """The published network with golden weights, and its bundles; leave their files."""
    from made.exports import export_published
    from reference.published import PARITY

    if not (PARITY / "golden.npz").exists():
        pytest.skip("golden values absent: ../shared/parity")
    return export_published(tmp_path_factory.mktemp("published"))
