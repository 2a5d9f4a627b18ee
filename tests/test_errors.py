"""Errors and warnings: what is documented is there, and what is there is documented."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import vit1dx
from vit1dx import errors
from vit1dx.errors import CODES, Vit1dxError

from .conftest import ROOT

TREES = {
    path: ast.parse(path.read_text())
    for path in (ROOT / "vit1dx").rglob("*.py")
    if path.name != "errors.py"
}


def _calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
            yield node


def _strings(tree: ast.AST) -> set[str]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {node.value for node in nodes if isinstance(node.value, str)}


def test_every_code_is_given_by_something_and_documented() -> None:
    warning = [tree for tree in TREES.values() if any(_calls(tree, "AudioWarning"))]
    assert CODES.keys() - set().union(*map(_strings, warning)) == set()
    codes = {
        call.args[0].value
        for tree in warning
        for call in _calls(tree, "AudioWarning")
        if isinstance(call.args[0], ast.Constant)
    }
    assert codes <= CODES.keys()


def test_every_error_is_public_and_raised_by_something() -> None:
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Vit1dxError)
    }
    assert {name: getattr(vit1dx, name) for name in kinds if name in vit1dx.__all__} == kinds
    made = {name for name in kinds for tree in TREES.values() if any(_calls(tree, name))}
    assert kinds.keys() - made == set()
