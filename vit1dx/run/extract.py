"""``vit1dx.extract``: folders of music to a feature file, as the command does it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..audio.files import printable
from ..errors import NoFilesError, UsageError
from ..model.backend import likely_backend
from ..model.request import Attention, BackendName, DType, Precision, TokenKind
from ..remote import AnyPath, path_of
from ..store.place import Part, require_part_folder, shard_limit
from .forecast import forecast_all
from .lists import Entry, FileList
from .mirdata import collect_mirdata
from .parts import part_for, shares_for
from .pool import Pool
from .remarks import passed_over_lines, show_passed_over
from .results import Summary
from .run import Options, extract_all, extract_batches
from .segments import collect_segments
from .sources import PassedOver, Source, collect
from .stream import require_names, stream
from .upload import RemoteOutput, remote_output

if TYPE_CHECKING:
    from .cluster import Cluster

StrPath: TypeAlias = str | os.PathLike[str]


def extract(
    paths: StrPath | Iterable[StrPath],
    output: StrPath,
    *,
    layers: str | int | Iterable[str | int] = "all",
    tokens: str | Iterable[TokenKind] = "all",
    pool: float | None = None,
    attention: Attention | None = None,
    overlap: float = 0.0,
    dtype: DType = "float32",
    weights: StrPath | None = None,
    weights_sha256: str | None = None,
    backend: BackendName = "auto",
    device: str = "auto",
    precision: Precision | None = None,
    files_from: StrPath | None = None,
    segments: StrPath | None = None,
    mirdata: str | None = None,
    exclude: Iterable[str] = (),
    include: Iterable[str] = (),
    follow_symlinks: bool = False,
    root: StrPath | None = None,
    shard_size: str | None = None,
    part: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    retry_failed: bool = False,
    checksum: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    timeout: float | None = None,
    memory: float = 2.0,
    quiet: bool = True,
    raise_signals: bool = True,
) -> Summary:
    """Extract tokens and attention of folders of music into a feature file, or a folder of them.

    This is what ``vit1dx extract`` does. A file that cannot be used is recorded as failed, and
    does not stop the others. The same call again continues: what is done and unchanged is not
    done again.

    Parameters
    ----------
    paths : path, or iterable of paths
        Folders, searched for audio; files; globs; or URLs of these (``s3://bucket/music/``).
    output : path
        Feature file to write (``.h5``, ``.hdf5``); a folder of shards if it ends in "/" or is one.
        Behind a URL (``s3://bucket/feats/``), shards are uploaded as they are done.
    layers : str or int or iterable of these
        ``"all"`` (every block), ``"last"``, ``"4,8"``, ``"1-12"``, or numbers; 0 is the embedding.
    tokens : str or iterable of {"mean", "class", "sequence"}
        Kinds of tokens to keep: ``"all"``, ``"mean,class"``, or several words.
    pool : float, optional
        Average sequence tokens over so many seconds; `time` is then the centre of each bin, of
        the last one that of what is left.
    attention : {"none", "class", "full"}, optional
        Attention maps of those layers from 1 on: none, the class token's rows, or all rows. By
        default the rows; none where no sequence tokens are kept, of layer 0 alone, and of a model
        exported without maps.
    overlap : float
        Context on either side of each window, s, computed and dropped.
    dtype : {"float32", "float16"}
        How tokens and attention are stored.
    weights : path, optional
        A ``.onnx`` or ``.safetensors`` file, or the name of bundled ones; see `vit1dx.Extractor`.
    weights_sha256 : str, optional
        Refuse weights of another SHA-256.
    backend : {"auto", "onnx", "openvino", "torch"}
        What runs the model.
    device : {"auto", "cpu", "cuda", "cuda:N"}
        Where it runs; with a number, on that graphics processor.
    precision : {"fp32", "int8", "bf16", "fp16"}, optional
        What the model computes in; by default what the weights are in.
    files_from : path, optional
        A list of more files (see `vit1dx.run.lists.FileList`): text, one a line or separated by
        NUL bytes, or CSV, JSON lines or Parquet; ``"-"`` is standard input.
    segments : path, optional
        A table of excerpts, each a track: CSV with a heading, or JSON lines (``.jsonl``), of path,
        start and end (s), and perhaps id. It takes the place of `paths` and `files_from`.
    mirdata : str, optional
        A data set of mirdata: its name, or its index file (``.json``), and perhaps ":" and the file
        of each track that is meant, as ``"guitarset:audio_mic"``. Ids and files are those of the
        index, which must be there; `paths` is its folder, by default mirdata's own.
    exclude, include : iterable of str
        Globs of files and folders to leave out, and of others to take too, though hidden or of
        another ending.
    follow_symlinks : bool
        Follow symbolic links out of a folder.
    root : path, optional
        Name tracks by their paths below this folder, however files are given.
    shard_size : str, optional
        Most bytes of a shard, as ``"500MB"``; 16 GiB by default.
    part : str, optional
        ``"3/16"``: do the third of 16 even shares of the files, into a folder of its own in the
        folder `output`; ``"slurm"``: the share of a task of a SLURM job array. The shares follow
        from ids, sizes and endings alone, and are kept in the output.
    overwrite : bool
        Replace an output instead of continuing it.
    dry_run : bool
        Write nothing: the summary's `forecast` says what would be done.
    retry_failed : bool
        Do files again that failed before.
    checksum : bool
        Know changed files by content, not by size and time.
    workers : int, optional
        Processes; one a usable core by default.
    scheduler : str, optional
        Do the files on a Dask cluster: the address of its scheduler (``"tcp://10.0.0.1:8786"``), or
        its scheduler file. The output is a folder then, on storage that all machines share.
    timeout : float, optional
        Seconds that a file may take; by default ten minutes and its duration.
    memory : float
        GiB that a file may take; infinity is no limit.
    quiet : bool
        Write nothing to standard error.
    raise_signals : bool
        If Ctrl-C or a signal to stop comes: write what is finished, and pass the signal on, so
        that Ctrl-C raises `KeyboardInterrupt`. False returns the summary instead, whose `stopped`
        tells, and ends the process at a second signal. Outside the main thread, signals are none
        of its business.

    Returns
    -------
    Summary
        What was done, what failed and why, warnings, seconds of audio, and more; see `to_dict`.

    Raises
    ------
    UsageError
        If an option cannot be used, or the output was made with others.
    NoFilesError
        If there are no audio files in `paths`.
    WeightsError, BackendError
        If the model cannot be run.
    ClusterError
        If the cluster cannot be reached, or is lost (`ClusterLostError`), or cannot work.
    SpaceError
        If the disk has no room for the features; nothing is written.
    LockedError
        If another run writes the output.
    StoreError
        If the output cannot be written (`WriteError`: to its end), or is no feature file.

    Examples
    --------
    >>> summary = vit1dx.extract("music", "feats.h5", layers=[4, 8])
    >>> summary.done, summary.failures
    (1, [])
    >>> with vit1dx.open("feats.h5") as features:
    ...     list(features)
    ['song.wav']
    """
    from ..extractor import Extractor

    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    _require_one_list(given, files_from, segments, mirdata, root)
    listed = None if files_from is None else FileList(files_from)
    upload = remote_output(output)
    limit = shard_limit(f"{output}", shard_size)
    _require_alone(upload, scheduler, limit, workers, part)
    if dry_run and scheduler:
        raise UsageError(
            f"--dry-run with --scheduler {scheduler}; leave that out, and it tells what one "
            "machine would do"
        )
    if segments is not None and scheduler:
        raise UsageError("--segments with --scheduler; leave one of them out")
    whole = path_of(output) if upload is None else upload.path
    share = None if part is None else part_for(output, part, limit)
    if upload is not None and share is not None:
        upload = upload.part(share)
    options = Options(
        _place(whole, upload, share, dry_run),
        limit,
        dtype,
        overwrite,
        retry_failed,
        checksum,
        workers,
        timeout,
        memory,
        quiet,
        raise_signals,
        upload=upload,
    )
    likely = likely_backend(weights, backend, precision)
    # A worker imports its libraries while files are looked for.
    with Pool(likely) if scheduler is None else _cluster(scheduler) as processes:
        extractor = Extractor(
            layers,
            tokens=tokens,
            pool=pool,
            attention=attention,
            overlap=overlap,
            weights=weights,
            weights_sha256=weights_sha256,
            backend=backend,
            device=device,
            precision=precision,
        )
        search = _Search(
            list(exclude),
            list(include),
            follow_symlinks,
            root,
            PassedOver(),
            quiet,
            segments,
            mirdata,
        )
        if listed is not None and not given and not listed.is_short and not dry_run:
            batches, shares = search.stream(listed, whole, share)
            options = replace(options, shares=shares)
            summary = extract_batches(batches, extractor, options, processes)
        else:
            texts = [os.fspath(path) for path in given]
            sources, shares = search.all(texts, listed or (), whole, share, not dry_run)
            options = replace(options, shares=shares)
            if dry_run and isinstance(processes, Pool):
                summary = forecast_all(sources, extractor, options, processes)
            else:
                summary = extract_all(sources, extractor, options, processes)
    summary.passed_over = search.passed_over
    return summary


@dataclass(frozen=True)
class _Search:
    """Finds the files of a run, as its options say."""

    exclude: list[str]
    include: list[str]
    follow_symlinks: bool
    root: StrPath | None
    passed_over: PassedOver
    quiet: bool
    segments: StrPath | None
    mirdata: str | None

    def all(
        self,
        texts: list[str],
        listed: Iterable[Entry],
        whole: AnyPath,
        part: Part | None,
        keep: bool,
    ) -> tuple[list[Source], str]:
        """The files of a run, or of a part, and the digest of the shares, which may be kept."""
        sources = self._found(texts, listed)
        if not sources:
            words = ["nothing to do: no audio files found", *passed_over_lines(self.passed_over)]
            raise NoFilesError("; ".join(words))
        if not self.quiet:
            show_passed_over(self.passed_over)
        if part is None:
            return sources, ""
        shares = shares_for(whole, part, sources, keep)
        return [source for source in sources if shares.of(source.id) == part.number], shares.digest

    def _found(self, texts: list[str], listed: Iterable[Entry]) -> list[Source]:
        if self.segments is not None:
            return collect_segments(self.segments, self.exclude, self.root, self.passed_over)
        if self.mirdata is not None:
            folder = texts[0] if texts else None
            of = self.exclude, self.include, self.passed_over
            return collect_mirdata(self.mirdata, folder, *of)
        return collect(
            texts,
            listed,
            exclude=self.exclude,
            include=self.include,
            follow_symlinks=self.follow_symlinks,
            root=self.root,
            passed_over=self.passed_over,
        )

    def stream(
        self, listed: FileList, whole: AnyPath, part: Part | None
    ) -> tuple[Iterator[list[Source]], str]:
        """As `all`, of a long list: some files after others."""
        require_names(listed, self.root)
        of = self.exclude, self.include, self.root
        if part is None:
            return stream(listed, *of, self.passed_over), ""
        every = (source for batch in stream(listed, *of) for source in batch)
        shares = shares_for(whole, part, every)

        def is_ours(track_id: str) -> bool:
            return shares.of(track_id) == part.number

        return stream(listed, *of, self.passed_over, is_ours), shares.digest


def _require_one_list(
    given: list[StrPath],
    files_from: StrPath | None,
    segments: StrPath | None,
    mirdata: str | None,
    root: StrPath | None,
) -> None:
    """Raise `UsageError` unless it is clear where the files are listed."""
    if mirdata is not None:
        if files_from is not None or segments is not None:
            raise UsageError(
                f"--mirdata {printable(mirdata)} lists files itself; leave out --files-from and "
                "--segments"
            )
        if root is not None:
            raise UsageError(
                f"--root {printable(root)} with --mirdata, whose ids are mirdata's; give the data "
                "set's folder as the path"
            )
        if len(given) > 1:
            raise UsageError(
                f"--mirdata {printable(mirdata)} with {len(given)} paths; its folder alone is one"
            )
    elif segments is not None and (given or files_from is not None):
        raise UsageError(
            f"--segments {printable(segments)} lists files itself; leave out paths and --files-from"
        )
    elif not given and files_from is None and segments is None:
        raise UsageError("nothing to extract; give folders, files or globs, or --files-from")


def _require_alone(
    upload: RemoteOutput | None,
    scheduler: str | None,
    limit: int | None,
    workers: int | None,
    part: str | None,
) -> None:
    """Raise `UsageError` for options that cannot go together."""
    if scheduler is None:
        return
    if upload is not None:
        raise UsageError(
            f"--scheduler with {upload.path}; the workers' shards need a folder that all machines "
            "share, which can be uploaded afterwards"
        )
    if limit is None:
        raise UsageError(
            "--scheduler with one file as output; end -o in '/' for a folder, in which each worker "
            "has shards of its own"
        )
    if workers is not None:
        raise UsageError(f"--workers {workers} with --scheduler; the cluster has its own")
    if part is not None:
        raise UsageError(f"--part {part} with --scheduler, which shares the files out by itself")


def _cluster(scheduler: str) -> Cluster:
    from .cluster import Cluster  # with what it imports, a tenth of the start of a run without

    return Cluster(scheduler)


def _place(whole: AnyPath, upload: RemoteOutput | None, share: Part | None, dry_run: bool) -> Path:
    """Where features are written: the output, the folder of a part, or what is uploaded."""
    if upload is not None:
        return upload.staging
    assert isinstance(whole, Path)
    return whole if share is None else require_part_folder(whole, share, make=not dry_run)
