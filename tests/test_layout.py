"""The order of imports: each room of the house imports only what stands below it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT

PACKAGE = ROOT / "vit1dx"

#: Floors, the lowest first; rooms on one do not import each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("_types", "_version", "errors", "config", "parallel", "processor", "remote", "whole"),
    ("tokens", "pooling"),
    ("audio", "model"),
    ("store",),
    ("extractor",),
    ("run",),
    ("analysis",),
    ("show", "probe", "doors"),
    ("train",),
    ("cli",),
)
LEVELS = {room: level for level, floor in enumerate(FLOORS) for room in floor}
#: On the lowest floor, what the others there may import.
GROUND = {"errors", "_types"}
#: Where what is large or optional may be imported, and nowhere else.
ONLY_IN = {
    "torch": (
        "model.torch",
        "model.vit",
        "model.export",
        "doors.dataset",
        "doors.hear",
        "train.",
        "cli.runtime",
    ),
    "safetensors": ("model.vit",),
    "onnxruntime": ("model.onnx", "model.backend", "cli.runtime"),
    "openvino": ("model.openvino",),
    "matplotlib": ("show.",),
    "umap": ("show.report.",),
    "sklearn": ("probe.",),
    "pyarrow": ("doors.tables", "run.lists"),
    "zarr": ("doors.tables",),
    "dask": ("run.cluster",),
    "distributed": ("run.cluster",),
    "fsspec": ("remote",),
    "mirdata": ("run.mirdata",),
    "librosa": (),
}


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name, path


MODULES = dict(_modules())


def _imports(name: str, tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, lazily or for types too; ours as ``vit1dx.room.module``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield f"{node.module}"
        elif isinstance(node, ast.ImportFrom):
            package = ["vit1dx", *name.split(".")][: -node.level]
            home = ".".join([*package, *([node.module] if node.module else [])])
            # `from . import a` names a module of a package; `from .a import b` one of its names.
            yield from [home] if node.module else (f"{home}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and _is_import(node.func):
            argument = node.args[0]
            if isinstance(argument, ast.Constant):  # a name that is put together tells nothing
                yield str(argument.value)


def _is_import(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


IMPORTS = {
    name: sorted(set(_imports(name, ast.parse(path.read_text())))) for name, path in MODULES.items()
}


def _room(module: str) -> str:
    return module.removeprefix("vit1dx.").partition(".")[0]


@pytest.mark.parametrize("name", [m for m in MODULES if m not in ("__init__", "__main__")])
def test_each_module_imports_only_what_stands_below_it(name: str) -> None:
    room = _room(name)
    assert room in LEVELS, f"{room} has no floor"
    for module in IMPORTS[name]:
        if module.partition(".")[0] != "vit1dx":
            continue
        other = _room(module)
        assert other in LEVELS, f"{name} imports {module}, which has no floor"
        below = LEVELS[other] < LEVELS[room] or (other in GROUND and LEVELS[room] == 0)
        assert other == room or below, f"{name} imports {module}, which stands above or beside it"


@pytest.mark.parametrize("library", ONLY_IN)
def test_what_is_large_is_imported_only_where_it_is_needed(library: str) -> None:
    allowed = ONLY_IN[library]
    users = {name for name, found in IMPORTS.items() if library in _tops(found)}
    assert [user for user in users if not user.startswith(allowed or ("nowhere",))] == []


def _tops(modules: list[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def _has_cycle(graph: dict[str, set[str]], start: str) -> bool:
    seen, waiting = set(), [*graph[start]]
    while waiting:
        name = waiting.pop()
        if name == start:
            return True
        if name not in seen:
            seen.add(name)
            waiting += graph.get(name, ())
    return False


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {
        name: {module.removeprefix("vit1dx.") for module in found}
        for name, found in IMPORTS.items()
    }
    assert [name for name in graph if _has_cycle(graph, name)] == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["extract", "--help"], ["--version"], ["train", "--help"]]
)
def test_help_imports_nothing_large(arguments: list[str]) -> None:
    script = (
        "import json, sys\n"
        "from vit1dx.cli.main import app\n"
        f"try: app({arguments})\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded.isdisjoint({*ONLY_IN, "onnx", "h5py", "av", "soundfile", "soxr"})


def test_import_vit1dx_imports_no_more_than_the_errors() -> None:
    script = "import sys, vit1dx; print(*[m for m in sys.modules if m.startswith('vit1dx.')])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == {"vit1dx.errors", "vit1dx._version"}
