"""Commands to see what was found in a track: pictures, and onsets for other programs."""

from __future__ import annotations

import difflib
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import AudioError, UsageError
from ..model.request import Attention
from ..whole import require_apart, whole

if TYPE_CHECKING:
    from ..analysis.onsets import OnsetCurve
    from ..remote import AnyPath
    from ..show.events import Events
    from ..show.panels import Mel
    from ..store.reader import Features, StoredTrack

Kind = Literal["overview", "ssm", "attention", "onsets", "layers"]
EventFormat = Literal["txt", "csv", "jams", "svl"]
PLOT_EXAMPLES = """Examples:

vit1dx plot song.mp3

vit1dx plot feats.h5 a/song.mp3 --kind ssm --layers 1,4,8,12 -o song.svg"""

ONSETS_EXAMPLES = """Examples:

vit1dx onsets song.mp3 --click clicks.wav

vit1dx onsets feats.h5 --format svl -o onsets/"""

#: Kinds that show all layers unless told otherwise.
ALL_LAYERS = ("ssm", "layers")

Reading = Literal["class", "received", "change", "log-change", "novelty"]

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="FEATS.h5|FOLDER|AUDIO",
        help="A feature file, a folder of them, or a music file.",
    ),
]
AudioOption = Annotated[
    Path | None,
    typer.Option(help="The track's music, where it is not found.", show_default=False),
]


def plot(
    source: SourceArgument,
    track: Annotated[
        str | None,
        typer.Argument(help="Its id; may be left out where there is one.", show_default=False),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="What to show.")] = "overview",
    layers: Annotated[
        str | None,
        typer.Option(
            help="'all', 'last', or numbers such as 4,8; by default all for ssm and layers, four "
            "for the others.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        float | None, typer.Option(metavar="S", help="Begin here, s.", show_default=False)
    ] = None,
    end: Annotated[
        float | None, typer.Option(metavar="S", help="End here, s.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="X.png|svg|pdf|webp",
            help="Picture to write; TRACK.KIND.png, here, by default.",
            show_default=False,
        ),
    ] = None,
    audio: AudioOption = None,
    dark: Annotated[bool, typer.Option("--dark", help="For dark screens.")] = False,
    dpi: Annotated[
        int, typer.Option(min=30, max=600, help="Dots an inch, of ten inches' width.")
    ] = 150,
) -> None:
    """Draw a track: mel, onsets, self-similarity by layer, attention by head (extra 'plot').

    The mel is there where the music is. A music file is extracted first, and nothing kept of it.
    """
    try:
        from ..show.panels import DARK, LIGHT
        from ..show.plot import Shown, draw, require_suffix, save
    except ImportError as error:
        raise UsageError(f"plot needs matplotlib ({error}); pip install 'vit1dx[plot]'") from None
    from ..analysis.track import frame_range, require_range

    if output is not None:
        require_suffix(output)
        require_apart(output, [Path(source), audio])
    require_range(start, end, float("inf"))
    attention: Attention = "none" if kind == "ssm" or layers == "0" else "full"
    with _opened(source, _needed(kind, layers), attention) as features:
        found = features[_id(features, track)]
        require_range(start, end, found.duration, found.start)
        last = found.start + found.duration
        span = found.start if start is None else start, last if end is None else min(end, last)
        frame_range(found, *span)  # there are tokens to show
        shown = Shown(
            found,
            _kept(features, kind, layers),
            *span,
            curve=_curve_if_any(found) if kind == "overview" else None,
            mel=_mel(found, features, audio, span) if kind in ("overview", "onsets") else None,
            theme=DARK if dark else LIGHT,
        )
        figure = draw(shown, kind, found.id)
    output = output or Path(f"{Path(found.id).stem}.{kind}.png")
    save(figure, output, shown.theme, dpi)
    print(output)


def onsets(
    source: SourceArgument,
    tracks: Annotated[
        list[str] | None,
        typer.Argument(metavar="TRACK", help="Their ids; all by default.", show_default=False),
    ] = None,
    form: Annotated[
        EventFormat,
        typer.Option(
            "--format",
            help="txt: a time a line, as mir_eval reads it; csv: a table of all tracks; jams; "
            "svl: a layer for Sonic Visualiser.",
        ),
    ] = "txt",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="File to write, or folder for a file a track; the terminal by default.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Layer to read; the best by default.", show_default=False)
    ] = None,
    head: Annotated[
        int | None, typer.Option(help="Its head; the best by default.", show_default=False)
    ] = None,
    reading: Annotated[
        Reading | None,
        typer.Option(help="What of its attention; the best by default.", show_default=False),
    ] = None,
    height: Annotated[
        float | None,
        typer.Option(help="Deviations that a peak stands out by.", show_default=False),
    ] = None,
    click: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.wav|flac", help="Also write the music with clicks.", show_default=False
        ),
    ] = None,
    audio: AudioOption = None,
) -> None:
    """List when notes begin, from the attention of one head; needs no extra.

    Which head, and how it is read, is printed on standard error. A music file is extracted first,
    and nothing kept of it.
    """
    from ..show.events import ONE_A_TRACK, as_csv
    from ..show.sound import require_click_suffix, write_clicks

    if click is not None:
        require_click_suffix(click)
    for path in (output, click):
        require_apart(path, [Path(source), audio])
    asked = {"layer": layer, "head": head, "reading": reading and reading.replace("-", " ")}
    with _opened(source, str(layer or _layer_to_read(asked)), "full") as features:
        ids = [_id(features, track) for track in tracks] if tracks else list(features)
        several = len(ids) != 1
        folder = output if output and (several or output.is_dir()) and form != "csv" else None
        if several and not (folder or form == "csv"):
            raise UsageError(f"{len(ids)} tracks; name one, or give -o FOLDER or --format csv")
        if several and click:
            raise UsageError(f"--click with {len(ids)} tracks; name one")
        for path in (output, click):
            require_apart(path, (Path(features[track].attributes["source"]) for track in ids))
        found: Iterable[Events] = _named(_events(features[track], asked, height) for track in ids)
        if click:
            found = [*found]
            music = _require_music(features[ids[0]], audio)
            write_clicks(music, found[0].times, click)
        if form == "csv":
            _write(as_csv(found), output)
            return
        for events in found:
            place = folder / f"{events.track}.{form}" if folder else output
            _write(ONE_A_TRACK[form](events), place)


def _layer_to_read(asked: dict[str, Any]) -> int:
    """The layer to extract of music: that of the best onset curve like the one asked for."""
    from ..model.guide import onset_curves

    curves = onset_curves()
    like = [curve for curve in curves if all(asked[key] in (None, curve[key]) for key in asked)]
    return int((like or curves)[0]["layer"])


def _events(track: StoredTrack, asked: dict[str, Any], height: float | None) -> Events:
    """Onsets of a track, by the best curve of those asked for."""
    from ..analysis.onsets import best_curve
    from ..analysis.onsets import onsets as onsets_of
    from ..show.events import Events

    curve = best_curve(track, **asked)
    if height is not None:
        curve = replace(curve, least=height)
    times, strengths = onsets_of(track, curve)
    rate = int(track.attributes["sample_rate"])
    return Events(track.id, times, strengths, str(curve), track.duration, rate)


def _named(found: Iterator[Events]) -> Iterator[Events]:
    """Events, each new curve that they are read off named on stderr."""
    named: set[str] = set()
    for events in found:
        if events.curve not in named:
            print(f"onsets by attention: {events.curve}", file=sys.stderr)
        named.add(events.curve)
        yield events


def _write(text: str, path: Path | None) -> None:
    if path is None:
        sys.stdout.write(text)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def _opened(source: str, layers: str, attention: Attention) -> Iterator[Features]:
    """Features of a file or folder; or of music, extracted for the time that they are needed."""
    from ..audio.formats import AUDIO_EXTENSIONS
    from ..remote import path_of
    from ..store.folder import open_features

    path = path_of(source)
    if path.suffix.lower() not in AUDIO_EXTENSIONS or path.is_dir():
        with open_features(path) as features:
            yield features
        return
    with tempfile.TemporaryDirectory(prefix="vit1dx-") as folder:
        _extract(path, layers, attention, Path(folder) / "features.h5")
        with open_features(Path(folder) / "features.h5") as features:
            yield features


def _extract(audio: AnyPath, layers: str, attention: Attention, output: Path) -> None:
    from ..run.extract import extract

    summary = extract(
        audio.resolve() if isinstance(audio, Path) else audio.url,
        output,
        layers=layers,
        attention=attention,
        quiet=not sys.stderr.isatty(),
    )
    if summary.failures:
        raise AudioError(f"{audio}: {summary.failures[0][1]}")


def _needed(kind: str, layers: str | None) -> str:
    """Layers to extract of music for a picture."""
    if layers is not None or kind in ALL_LAYERS:
        return layers or "all"
    from ..config import Config
    from ..show.plot import spread

    return ",".join(map(str, spread(range(1, Config().model.depth + 1))))


def _kept(features: Features, kind: str, layers: str | None) -> tuple[int, ...]:
    """Layers of a picture, of those that were kept."""
    from ..show.plot import spread
    from ..tokens import attended

    if layers is None and kind not in ALL_LAYERS:
        return spread(attended(features.layers) or features.layers)
    return kept_layers(features, layers)


def kept_layers(features: Features, layers: str | None) -> tuple[int, ...]:
    """Layers asked for, all by default; `UsageError` if one was not kept."""
    from ..config import ModelConfig
    from ..model.request import parse_layers

    if layers in (None, "all"):
        return features.layers
    asked = parse_layers(layers, ModelConfig(**features.config["model"]))
    for layer in asked:
        if layer not in features.layers:
            kept = ", ".join(map(str, features.layers))
            raise UsageError(f"no layer {layer} in {features.path}; layers {kept} were kept")
    return asked


def _id(features: Features, asked: str | None) -> str:
    """The track asked for, or the only one there is."""
    if asked is not None and asked in features:
        return asked
    ids = list(features)
    if asked is None and len(ids) == 1:
        return ids[0]
    if not ids:
        raise UsageError(f"no track in {features.path}")
    if asked is None:
        few = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
        raise UsageError(f"{len(ids)} tracks in {features.path}; name one of {few}")
    inside = [track for track in ids if asked.lower() in track.lower()]
    near = dict.fromkeys(inside[:3] + difflib.get_close_matches(asked, ids, n=3, cutoff=0.4))
    hint = f"; near it: {', '.join(near)}" if near else f"; {len(ids)} others, {ids[0]} for one"
    raise UsageError(f"no track {asked} in {features.path}{hint}")


def _curve_if_any(track: StoredTrack) -> OnsetCurve | None:
    """The best onset curve; none where the attention maps, or their absence, give none."""
    from ..analysis.onsets import best_curve

    try:
        return best_curve(track)
    except UsageError as error:
        print(f"no onsets: {error}", file=sys.stderr)
        return None


def _music(track: StoredTrack, audio: Path | None) -> Path | None:
    """The file given, or the one that a track was made of, if it is there and has not changed."""
    from ..show.sound import music_of

    return audio or music_of(track.attributes)


def _require_music(track: StoredTrack, audio: Path | None) -> Path:
    music = _music(track, audio)
    if music is None:
        source = track.attributes["source"]
        raise UsageError(f"{source}, the track's music, is not there; give it with --audio")
    return music


def _mel(
    track: StoredTrack, features: Features, audio: Path | None, span: tuple[float, float]
) -> Mel | None:
    """The mel of a part of a track; none where its music is not at hand."""
    from ..config import MelConfig
    from ..show.panels import Mel
    from ..show.sound import mel_picture

    music = _music(track, audio)
    if music is None:
        print(f"no mel: {track.attributes['source']} is not there; --audio", file=sys.stderr)
        return None
    config = MelConfig(**features.config["mel"])
    try:
        frames, time = mel_picture(music, config, start=span[0], stop=span[1])
    except AudioError as error:
        raise AudioError(f"{music}: {error}") from None
    return Mel(frames, time, config)
