"""The processor: its name, and the instructions that it has."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

#: Instructions that matter to the model's matrix products, as Linux names them; the best last.
SETS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


@cache
def _fields() -> dict[str, str]:
    """What Linux says of the first core; nothing elsewhere."""
    try:
        first = _CPUINFO.read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":")[::2] for line in first.splitlines())
    return {key.strip(): value.strip() for key, value in pairs}


def processor_name() -> str:
    """Its name: ``"AMD EPYC 7B13"``."""
    return _fields().get("model name") or platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...] | None:
    """Those of `SETS` that it has; None where the system does not say."""
    flags = _fields().get("flags")
    return None if flags is None else tuple(name for name in SETS if name in flags.split())


def multiplies_bf16() -> bool | None:
    """Whether it has instructions for products of bfloat16; None where the system does not say."""
    sets = instruction_sets()
    return None if sets is None else not {"avx512_bf16", "amx_bf16"}.isdisjoint(sets)
