"""ONNX Runtime on a machine that it is not on: what a GPU build would list and answer.

Sessions are real ones on the CPU; only the lists of providers and devices are made up, and the
device asked for is noted before it becomes the CPU.
"""

from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from nuhtc.runtime.engines.providers import CPU_EP, CUDA_EP, RTX_EP


class FakeRuntime:
    """Stands in the place of the module ``onnxruntime``.

    Parameters
    ----------
    available
        Execution providers that this build claims to have.
    works
        Whether a session with them comes to be; if not, it is quietly one of the CPU.
    """

    def __init__(self, available: tuple[str, ...] = (CUDA_EP,), *, works: bool = True) -> None:
        self.available, self.works = available, works
        self.kept_on: dict[str, str] = {}
        self.asked: list[Any] = []
        self.registered: list[str] = []
        self.OrtValue = onnxruntime.OrtValue
        self.SessionOptions = self._options

    def get_available_providers(self) -> list[str]:
        return [*self.available, CPU_EP]

    def preload_dlls(self, **_: bool) -> None:
        """Nothing to load."""

    def register_execution_provider_library(self, name: str, _: str) -> None:
        self.registered.append(name)

    def get_ep_devices(self) -> list[Any]:
        return [SimpleNamespace(ep_name=name) for name in (CPU_EP, *self.registered)]

    def _options(self) -> Any:
        fake = self

        class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
            def add_provider_for_devices(self, devices: list[Any], options: Any) -> None:
                fake.asked.append(([one.ep_name for one in devices], options))

        return Options()

    def InferenceSession(self, path: str, options: Any, providers: Any = None) -> "FakeSession":
        if providers is not None:
            self.asked.append(providers)
        return FakeSession(self, onnxruntime.InferenceSession(path, options, providers=[CPU_EP]))


class FakeSession:
    """A session of the CPU that says it is of a GPU."""

    def __init__(self, fake: FakeRuntime, session: Any) -> None:
        self._fake, self._session = fake, session
        self.get_outputs = session.get_outputs

    def get_providers(self) -> list[str]:
        return [CUDA_EP, RTX_EP, CPU_EP] if self._fake.works else [CPU_EP]

    def run_with_iobinding(self, binding: "FakeBinding") -> None:
        self._session.run_with_iobinding(binding.binding)

    def io_binding(self) -> "FakeBinding":
        return FakeBinding(self._fake, self._session.io_binding())


class FakeBinding:
    """A binding that notes where each output is to stay."""

    def __init__(self, fake: FakeRuntime, binding: Any) -> None:
        self._fake, self.binding = fake, binding
        self.bind_ortvalue_input = binding.bind_ortvalue_input
        self.get_outputs = binding.get_outputs

    def bind_output(self, name: str, device: str) -> None:
        self._fake.kept_on[name] = device
        self.binding.bind_output(name, "cpu")


def put_in_place(monkeypatch: pytest.MonkeyPatch, fake: FakeRuntime) -> FakeRuntime:
    """Let the engines see the fake instead of ONNX Runtime."""
    from nuhtc.runtime.engines import onnxruntime as engine
    from nuhtc.runtime.engines import providers

    monkeypatch.setattr(engine, "onnxruntime", fake)
    monkeypatch.setattr(providers, "onnxruntime", fake)
    return fake
