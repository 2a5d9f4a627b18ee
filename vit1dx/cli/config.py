"""Options of ``vit1dx extract`` in a TOML file, read and written."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import typer

from ..errors import UsageError

#: What a file cannot set.
NOT_IN_FILES = ("config", "return")
#: What is needed of a value, by an option's type.
_NEEDED: dict[Any, tuple[str, tuple[type, ...]]] = {
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    bool: ("true or false", (bool,)),
}
#: Options whose text is a list, as ``4,8``.
_LISTS = ("layers", "tokens")


def apply_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take a TOML file's options as the defaults of a command: what was typed wins.

    Raises
    ------
    UsageError
        If the file cannot be read, or names an option that is none, or a value is of another type.
    """
    if path is not None:
        hints = get_type_hints(context.command.callback)
        names = (name for name in hints if name not in NOT_IN_FILES)
        known = {name.replace("_", "-"): name for name in names}
        known = {{"as-json": "json"}.get(key, key): name for key, name in known.items()}
        context.default_map = {}
        for key, value in _read(path).items():
            name = known.get(key.replace("_", "-"))
            if name is None:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"; {near[0]} is near" if near else ""
                raise UsageError(f"{path}: no option {key!r}{hint}")
            context.default_map[name] = _value(f"{path}: {key}", name, value, hints[name])
    return path


def _read(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # of the encoding, or of TOML
        raise UsageError(f"{path} is not TOML: {error}") from None


def _value(where: str, name: str, value: Any, hint: Any) -> Any:
    """A value as the command line would give it."""
    (kind,) = (
        [part for part in get_args(hint) if part is not type(None)] if _is_union(hint) else [hint]
    )
    if get_origin(kind) is list:
        values = value if isinstance(value, list) else [value]
        return [_single(where, each, str) for each in values]
    if name in _LISTS:
        values = value if isinstance(value, list) else [value]
        return ",".join(str(_single(where, each, "word")) for each in values)
    return _single(where, value, kind)


def _is_union(hint: Any) -> bool:
    return type(None) in get_args(hint)


def _single(where: str, value: Any, kind: Any) -> Any:
    words = ("a word or whole number", (str, int))
    needed, types = words if kind == "word" else _NEEDED.get(kind, ("text", (str,)))
    if not isinstance(value, types) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{where} = {json.dumps(value, default=str)}; {needed} is needed")
    return value


def write_config(attributes: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The options that made features, of all that their values follow from, as TOML.

    Parameters
    ----------
    attributes, config : mapping
        See `vit1dx.Features`.
    """
    lines = [
        f"# Made by {attributes['generator']}, {attributes['backend']} "
        f"{attributes['backend_version']} on {attributes['device']}.",
        f"# With weights of another file than the bundled ones, give --weights: "
        f"{attributes['model_name']}.",
        *(f"{key} = {_toml(value)}" for key, value in _options(attributes, config)),
    ]
    return "\n".join(lines)


def _options(attributes: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    from ..model.request import Request

    request, mel = Request.from_dict(config["request"]), config["mel"]
    yield "layers", list(request.layers)
    yield "tokens", list(request.tokens)
    if request.pool is not None:
        yield "pool", request.pool
    yield "attention", request.attention
    yield "overlap", config["window"]["overlap"] * mel["hop_length"] / mel["sample_rate"]
    yield "dtype", config["request"]["dtype"]
    yield "precision", attributes["precision"]
    yield "backend", attributes["backend"]
    yield "weights-sha256", attributes["model_sha256"]


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
