"""The tracks of a mirdata data set: ids and audio files as its index, on this machine, has them."""

from __future__ import annotations

import difflib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..audio.files import printable
from ..audio.formats import AUDIO_EXTENSIONS
from ..errors import UsageError
from ..remote import is_url
from .sources import PassedOver, Search, Source, require_together

#: What most data sets call a track's audio.
USUAL = "audio"
#: Where an index has what it knows, in the order of search.
_TABLES = ("tracks", "multitracks")


def collect_mirdata(
    dataset: str,
    folder: str | None = None,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    passed_over: PassedOver | None = None,
) -> list[Source]:
    """The tracks of a data set as sources, in the order of its index.

    A track whose audio the index does not have has a problem; a file that is not there shows when
    it is opened. Nothing is downloaded.

    Parameters
    ----------
    dataset : str
        A name that mirdata knows, or an index file (``.json``); with ":" and a name behind it, that
        file of each track, where the index has several with audio, as ``guitarset:audio_mic``.
    folder : str, optional
        Folder or URL that the data set lies in, mirdata's ``data_home``; by default where mirdata
        looks for it.
    exclude, include, passed_over
        See `vit1dx.run.sources.collect`.

    Raises
    ------
    UsageError
        If there is no such data set, index or folder, or it is not clear which file is meant.

    References
    ----------
    R. M. Bittner et al., "mirdata: Software for reproducible usage of datasets", ISMIR 2019.
    """
    name, kind = _split(dataset)
    if _is_index(name):
        index, home = Path(name), folder
        if home is None:
            raise UsageError(f"--mirdata {printable(name)}: give the data set's folder as the path")
    else:
        index, usual = _known(name)
        home = folder or usual
    if not is_url(home) and not Path(home).is_dir():
        raise UsageError(f"{printable(home)}: no such folder of {printable(name)}; give its path")
    files = _files(_read(index, name), kind, name)
    search = Search(exclude, include, False, passed_over or PassedOver())
    found = require_together(_sources(files, home, search))
    search.end()
    return list(found.values())


def _split(dataset: str) -> tuple[str, str | None]:
    """The name of a data set or index, and that of a file of each track."""
    name, colon, kind = dataset.rpartition(":")
    return (name, kind) if colon and not Path(dataset).exists() else (dataset, None)


def _is_index(name: str) -> bool:
    return name.lower().endswith(".json") or os.sep in name


def _known(name: str) -> tuple[Path, str]:
    """Where mirdata has the index of a data set, and the folder that it looks into."""
    try:
        import mirdata
    except ImportError:
        raise UsageError(
            f"--mirdata {name} needs mirdata: pip install 'vit1dx[mirdata]'; or give an index file"
        ) from None
    names = mirdata.list_datasets()
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; {near[0]} is near" if near else ""
        raise UsageError(
            f"--mirdata {printable(name)}: mirdata {mirdata.__version__} has no such data set{hint}"
        )
    try:
        with _silent():
            dataset = mirdata.initialize(name)
    except ImportError:
        raise UsageError(
            f"--mirdata {name} needs a package more: pip install 'mirdata[{name}]'"
        ) from None
    except (KeyError, ValueError) as error:  # no index of the version that it names
        raise UsageError(f"--mirdata {name}: mirdata cannot open it: {error!r}") from None
    return Path(dataset.index_path), str(dataset.data_home)


@contextmanager
def _silent() -> Iterator[None]:
    """Let nothing be logged: what is wrong is said in one line."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        index = json.loads(path.read_bytes())
    except FileNotFoundError:
        hint = (
            ""
            if _is_index(name)
            else (
                '; python -c "import mirdata; '
                f"mirdata.initialize('{name}').download(['index'])\" downloads it"
            )
        )
        raise UsageError(f"{printable(path)}: no such index{hint}") from None
    except OSError as error:
        raise UsageError(f"index {printable(path)}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"index {printable(path)} is not JSON: {error}") from None
    if not isinstance(index, dict) or not any(_table(index, table) for table in _TABLES):
        raise UsageError(f"{printable(path)} is no index of mirdata: it has no tracks")
    return index


def _table(index: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """What an index has of each track, by its id."""
    table = index.get(name)
    tracks = table.items() if isinstance(table, dict) else ()
    return {str(key): files for key, files in tracks if isinstance(files, dict)}


def _files(index: Mapping[str, Any], kind: str | None, name: str) -> dict[str, str | None]:
    """The audio file of each track, below the data set's folder; None where there is none."""
    tables = [(table, _audio_kinds(table)) for table in (_table(index, key) for key in _TABLES)]
    tables = [(table, kinds) for table, kinds in tables if kinds]
    if not tables:
        raise UsageError(f"--mirdata {printable(name)}: its index has no audio files")
    if not kind:
        table, kinds = tables[0]
        kind = USUAL if USUAL in kinds else kinds[0] if len(kinds) == 1 else None
    for table, kinds in tables:
        if kind in kinds:
            return {key: _path(files.get(kind)) for key, files in table.items()}
    asked = f"no audio file {kind!r} of a track" if kind else "several audio files of a track"
    choices = list(dict.fromkeys(each for _, kinds in tables for each in kinds))
    raise UsageError(
        f"--mirdata {printable(name)}: {asked}; name one, as {printable(name)}:{choices[0]}; there "
        f"are {', '.join(choices)}"
    )


def _audio_kinds(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of files that are audio by their endings, of any track."""
    kinds = {
        kind: None
        for files in table.values()
        for kind, file in files.items()
        if Path(_path(file) or "").suffix.lower() in AUDIO_EXTENSIONS
    }
    return list(kinds)


def _path(file: Any) -> str | None:
    """The path of a file, of which an index has the checksum too."""
    is_file = isinstance(file, list) and file and isinstance(file[0], str)
    return file[0] if is_file and file[0] else None


def _sources(files: Mapping[str, str | None], home: str, search: Search) -> Iterator[Source]:
    top = home.rstrip("/") if is_url(home) else os.path.abspath(home)
    for track_id, file in files.items():
        place = f"{top}/{file or ''}"
        for source in search.listed(printable(track_id), place if file else top):
            problem = None if file else "mirdata's index has no audio of it"
            yield Source(track_id, Path(top), problem=problem) if problem else source
