"""``vit1dx info --runtime``: what a machine has, and advice that follows from what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vit1dx import processor
from vit1dx.cli import runtime

from ..conftest import RunCli

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.0GHz
flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16 amx_bf16

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch each of ONNX Runtime alone."""
    monkeypatch.setattr(runtime, "SECONDS", 0.0)
    real = runtime.find_spec
    monkeypatch.setattr(
        runtime, "find_spec", lambda name: real(name) if name == "onnxruntime" else None
    )


@pytest.mark.usefixtures("quick")
def test_advice_follows_from_what_was_measured() -> None:
    found = runtime.describe_runtime()
    assert json.loads(json.dumps(found)) == found
    assert {row["precision"] for row in found["measured"]} == {"fp32", "int8"}
    rates = [row["windows"] for row in found["measured"]]
    assert rates == sorted(rates, reverse=True)
    cosines = {row["precision"]: row["cosine"] for row in found["measured"]}
    assert cosines["fp32"] == pytest.approx(1)
    assert 0.99 < cosines["int8"] < 0.99999
    assert found["fastest"]["fp32"]["options"] == ""
    assert found["processor"]["usable"] >= 1
    assert found["backends"]["openvino"] == {
        "reason": "not installed; pip install 'vit1dx[openvino]'"
    }
    text = {row[0]: row[1] for row in runtime.lines(found)}
    assert text["fastest in fp32"].startswith("vit1dx extract (")
    assert "x real time; least cosine with fp32 1.00000" in text["onnx fp32 cpu"]


def test_the_usual_way_is_advised_where_it_is_about_as_fast() -> None:
    def row(options: str, windows: float, device: str = "cpu") -> dict[str, Any]:
        rate = {"windows": windows, "times_real_time": 4 * windows}
        return {"options": options, "device": device, "cosine": 1.0, **rate}

    near = [row("--backend openvino", 41), row("", 40)]
    far = [row("--precision bf16", 90), row("", 40), row("--device cuda", 5000, "cuda")]
    best = [runtime._fastest(rows) for rows in (near, far[:2], far, [])]
    assert [one and one["options"] for one in best] == [
        "",
        "--precision bf16",
        "--device cuda",
        None,
    ]
    assert best[2]
    assert best[2]["times_real_time"] == 20_000


def test_a_way_that_is_refused_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "SECONDS", 0.0)
    row = runtime._measured("onnx", "fp16", "cpu", {})
    assert row["reason"] == "precision fp16 needs the torch backend, not onnx"


def test_it_is_of_no_file(cli: RunCli) -> None:
    done = cli("info", "f.h5", "--runtime")
    assert (done.returncode, done.stdout) == (2, "")
    assert "leave out the file" in done.stderr


@pytest.mark.parametrize(
    ("text", "name", "sets", "able"),
    [
        (CPUINFO, "Some CPU @ 2.0GHz", {"avx2", "avx512f", "avx512_vnni", "amx_bf16"}, True),
        (CPUINFO.replace("amx_bf16", "").replace("avx512_bf16", ""), "Some", {"avx2"}, False),
        (None, "", set(), None),
    ],
)
def test_the_processor_is_read_from_linux(
    text: str | None,
    name: str,
    sets: set[str],
    able: bool | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    processor._fields.cache_clear()
    try:
        assert processor.processor_name().startswith(name)
        assert sets <= set(processor.instruction_sets() or ())
        assert processor.multiplies_bf16() is able
    finally:
        processor._fields.cache_clear()
