"""OpenVINO: the exported graph, cut down to what is asked for, on x86 processors."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from .._types import Array
from .._version import __version__
from ..errors import BackendError, WeightsError, reason_of
from ..parallel import usable_cores
from ..processor import instruction_sets, multiplies_bf16, processor_name
from . import cache
from .graph import Outputs
from .request import Request
from .weights import WeightsInfo

# Importing OpenVINO tells its maker so, over the network and from a process of its own, unless
# the package that does it is not there.
_ABSENT = "openvino_telemetry"
_is_blocked = sys.modules.setdefault(_ABSENT, None) is None  # type: ignore[arg-type]
try:
    import openvino
finally:
    if _is_blocked:
        del sys.modules[_ABSENT]

#: What a forked process has of its parent's, and must not end.
_UNENDED: list[object] = []
#: OpenVINO's names of precisions.
_TYPES = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoBackend:
    """An ONNX model in OpenVINO; see `Backend`. Threads may call it side by side.

    What `run` gives stays as it is until the same thread calls it again.
    """

    name = "openvino"
    version: str = openvino.__version__.partition("-")[0]
    device = "cpu"

    def __init__(
        self,
        info: WeightsInfo,
        request: Request,
        device: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
    ) -> None:
        self._outputs = Outputs.of(request, info)
        precision = precision or info.precision
        _require(device, precision, info)
        self._settings = {
            # One thread a stream: windows side by side beat one on all cores.
            "NUM_STREAMS": str(threads or usable_cores()),
            "INFERENCE_NUM_THREADS": threads or usable_cores(),
            "ENABLE_CPU_PINNING": False,  # several processes would all take the same cores
            # Without it, products are of bfloat16 wherever the processor has them.
            "INFERENCE_PRECISION_HINT": _TYPES[precision],
            "EXECUTION_MODE_HINT": "ACCURACY" if precision == "fp32" else "PERFORMANCE",
        }
        self._info = info
        self._starting = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._model = self._cached(self._info) or self._compile(self._info)
        self._of_thread, self._process = threading.local(), os.getpid()

    def _cached(self, info: WeightsInfo) -> Any:
        """The model as an earlier process compiled it; None if there is none that loads."""
        content = cache.read(self._key(info))
        if content is None:
            return None
        try:
            return openvino.Core().import_model(content, "CPU", self._settings)
        except Exception:  # OpenVINO's errors have no base of their own; it is compiled again
            return None

    def _compile(self, info: WeightsInfo) -> Any:
        from .pruned import asked_of  # ONNX takes long to import

        graph = asked_of(info, self._outputs)
        core = openvino.Core()
        try:
            model = core.read_model(graph.SerializeToString())
            made = core.compile_model(model, "CPU", self._settings)
        except Exception as error:
            raise WeightsError(f"OpenVINO refuses {info.path}: {reason_of(error)}") from error
        cache.write(self._key(info), made.export_model().getvalue())
        return made

    def _key(self, info: WeightsInfo) -> str:
        """All that a compiled model depends on."""
        where = __version__, openvino.__version__, processor_name(), instruction_sets()
        return json.dumps([*where, info.sha256, self._outputs.names, self._settings])

    def run(self, mel: Array) -> tuple[dict[int, Array], dict[int, Array]]:
        """Run the model; see `Backend.run`."""
        with self._starting:
            if os.getpid() != self._process:  # forked: the streams' threads stayed behind,
                _UNENDED.append((self._model, self._of_thread))  # and would be waited for
                self._start()
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._model.create_infer_request()
        request.infer({"mel": mel}, share_inputs=True)
        return self._outputs.by_layer(
            [request.get_tensor(name).data for name in self._outputs.names]
        )


def devices() -> list[str]:
    """What this backend uses."""
    return ["cpu"]


def _require(device: str, precision: str, info: WeightsInfo) -> None:
    """Raise `BackendError` unless OpenVINO is to compute what it can, where it can."""
    if device not in ("auto", "cpu"):
        raise BackendError(f"the openvino backend runs on cpu, not on {device}; use --device cpu")
    if precision not in _TYPES:
        raise BackendError(
            f"the openvino backend computes in fp32 or bf16, and {info.path.name} is to run in "
            f"{precision}; use --backend onnx"
        )
    has_bf16 = multiplies_bf16()
    if has_bf16 is None:
        has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        raise BackendError(
            f"bf16 in OpenVINO needs a processor with AMX or AVX512-BF16, which {processor_name()} "
            "has not; use --precision fp32, or int8 of --backend onnx"
        )
