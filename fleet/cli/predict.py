"""``fleet predict``: decide what is on images, as a device would."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli import options
from fleet.cli.output import Format, Output
from fleet.errors import DataError
from fleet.vocabulary import counted

if TYPE_CHECKING:
    from fleet.runtime import DeviceClassifier, Prediction

_CHUNK = 256
"""Images between two writes of ``jsonl`` and ``csv``."""

_COLUMNS = ("image", "label", "index", "margin", "output", "error")


class PredictionFormat(StrEnum):
    """How decisions are written: ``jsonl`` and ``csv`` as they come, a line for each image."""

    auto = "auto"
    human = "human"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


ImagesArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="IMAGE", help="JPEG, PNG, BMP or WebP files, or directories of them."),
]
Watch = Annotated[
    Path | None,
    typer.Option(
        "--watch",
        metavar="DIR",
        help="Then decide on each picture that appears in DIR, as JSON lines, until Ctrl-C.",
    ),
]
Raw = Annotated[
    bool,
    typer.Option(
        "--raw", help="Show the number that is decoded too; many of them tell the encoding."
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Take what lies below directories too.")
]
FormOption = Annotated[
    PredictionFormat, typer.Option("--format", help="How to write the result to stdout.")
]


def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .fleet file.")],
    images: ImagesArgument = None,
    recursive: Recursive = False,
    watch: Watch = None,
    raw: Raw = False,
    home: Annotated[
        Path | None, typer.Option("--home", help="A device's directory, to open a sealed bundle.")
    ] = None,
    accelerator: options.Accelerator = None,
    form: FormOption = PredictionFormat.auto,
) -> None:
    """Decide what is on images, as the device would: a class, or None, with its margin.

    The margin is how far the output is from another decision; it is below 0 in a gap. An image that
    cannot be read is named, the others are decided on, and the exit code is 1.

    Example: fleet predict cam-01-2026.11.1.fleet photos --recursive --format csv
    """
    paths = list_pictures(images, recursive, watch, form)  # before anything is loaded

    from fleet.runtime import load_bundle

    key = options.device_key(home)
    if accelerator in {None, options.AcceleratorChoice.cpu}:
        write_predictions(load_bundle(bundle, key=key), paths, form, watch, raw)
        return
    from fleet.accelerator import chosen, find_accelerator

    with chosen(find_accelerator(accelerator.value)):
        device = load_bundle(bundle, key=key, engine="torch")
        write_predictions(device, paths, form, watch, raw)


def list_pictures(
    paths: list[Path] | None, recursive: bool, watch: Path | None, form: PredictionFormat
) -> list[Path]:
    """Replace directories by the pictures in them, sorted.

    Raises:
        typer.BadParameter: There is nothing to decide on, or a stream has another form.
        DataError: Some paths are not there (all are named), or a directory holds no picture.
    """
    from fleet.data.folder import pictures_in

    if not paths and watch is None:
        raise typer.BadParameter("name some images, or --watch a directory", param_hint="IMAGE")
    if watch is not None and form in {PredictionFormat.json, PredictionFormat.human}:
        raise typer.BadParameter("a stream is written as jsonl or csv", param_hint="--format")
    if watch is not None and not watch.is_dir():
        raise DataError(f"cannot watch {watch}: no such directory")
    paths = paths or []

    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise DataError(f"no such image: {', '.join(absent)}", hint="nothing was decided")
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = [p for p in sorted(path.rglob("*")) if p.is_dir()] if recursive else []
        inside = [picture for folder in (path, *below) for picture in pictures_in(folder)]
        if not inside:
            hint = "" if recursive else "; --recursive looks below it too"
            raise DataError(f"no images in {path}", hint=f"JPEG, PNG, BMP and WebP are read{hint}")
        found += inside
    return found


def write_predictions(
    classifier: DeviceClassifier,
    paths: list[Path],
    form: PredictionFormat,
    watch: Path | None = None,
    raw: bool = False,
) -> None:
    """Decide on images, write a line for each, and name those that cannot be read.

    Args:
        classifier: What decides.
        paths: The images.
        form: How to write.
        watch: A directory to go on with until Ctrl-C.
        raw: Write the scalar of task ``int`` too.

    Raises:
        typer.Exit: Code 1, if some cannot be read.
    """
    if watch is not None and form is PredictionFormat.auto:
        form = PredictionFormat.jsonl
    lines = form in {PredictionFormat.jsonl, PredictionFormat.csv}
    output = Output(Format.auto if lines else Format(form.value))
    manifest, entries = classifier.manifest, []
    if form is PredictionFormat.csv:
        typer.echo(",".join(_columns(raw)))
    if watch is not None:
        _stream(classifier, paths, form, watch, raw, output)
        return
    for entry in _decide(classifier, paths, raw):
        _write_line(entry, form, raw, output)
        entries.append(entry)
    broken = [entry for entry in entries if "error" in entry]
    decided = [entry for entry in entries if "error" not in entry]
    if form is PredictionFormat.json:
        value = {"device": manifest.device, "release": manifest.release, "predictions": decided}
        output.data("", {**value, "errors": broken} if broken else value)
    elif not lines and decided:
        width = max(len(str(entry["label"])) for entry in decided)
        typer.echo("\n".join(_line(entry, width) for entry in decided))
    if broken:
        output.note(f"{len(broken)} of {counted(len(entries), 'image')} could not be read")
        raise typer.Exit(1)


def _stream(
    classifier: DeviceClassifier,
    paths: list[Path],
    form: PredictionFormat,
    watch: Path,
    raw: bool,
    output: Output,
) -> None:
    """Decide on ``paths``, then on what appears in ``watch``; Ctrl-C, or no reader, ends it."""
    from fleet.runtime.arrivals import LOOK, Arrivals

    counts = {"decided": 0, "broken": 0}
    try:
        arrivals = Arrivals(watch)
        output.note(f"watching {watch}; Ctrl-C ends it")
        while not getattr(sys.stdout, "lost", False):
            for path in paths:
                entry = _decide_one(classifier, path, raw)
                if "error" in entry and arrivals.unfinished(path):
                    continue
                counts["broken" if "error" in entry else "decided"] += 1
                _write_line(entry, form, raw, output)
            paths = arrivals.look()
            if not paths:
                time.sleep(LOOK)
    except KeyboardInterrupt:
        pass  # the way to end a stream
    output.note(
        f"{counted(counts['decided'], 'image')} decided, {counts['broken']} could not be read"
    )
    if counts["broken"]:
        raise typer.Exit(1)


def _decide_one(classifier: DeviceClassifier, path: Path, raw: bool) -> dict[str, Any]:
    try:
        return next(_decide(classifier, [path], raw))
    except DataError as error:  # it changes while it is read
        return {"image": str(path), "error": error.message}


def _write_line(entry: dict[str, Any], form: PredictionFormat, raw: bool, output: Output) -> None:
    """Write one decision of a form that has a line for each, and say what could not be read."""
    if "error" in entry:
        output.note(f"error: {entry['error']}")
    if form is PredictionFormat.jsonl:
        typer.echo(json.dumps(entry))
    elif form is PredictionFormat.csv:
        typer.echo(_csv_line(entry, _columns(raw)))


def _columns(raw: bool) -> list[str]:
    return [name for name in _COLUMNS if raw or name != "output"]


def _decide(classifier: DeviceClassifier, paths: list[Path], raw: bool) -> Iterator[dict[str, Any]]:
    """Decisions in order; what cannot be read has an ``error`` instead."""
    for start in range(0, len(paths), _CHUNK):
        chunk = paths[start : start + _CHUNK]
        broken: dict[Path, str] = {}
        try:
            found = classifier.predict_files(chunk, raw=raw)
        except DataError:
            from fleet.data.pictures import Frame
            from fleet.data.survey import broken_pictures

            images = classifier.manifest.preprocessing
            frame = Frame(images.channels, images.image_size, images.fit)
            broken = broken_pictures(chunk, frame)
            whole = [path for path in chunk if path not in broken]
            found = classifier.predict_files(whole, raw=raw)
        decided = iter(found)
        for path in chunk:
            if path in broken:
                yield {"image": str(path), "error": broken[path]}
            else:
                yield _entry(path, next(decided))


def _entry(path: Path, prediction: Prediction) -> dict[str, Any]:
    said = {**vars(prediction), "margin": _finite(prediction.margin)}
    if "output" in said:  # --raw
        said["output"] = _finite(said["output"])
    return {"image": str(path), **said}


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _line(entry: dict[str, Any], width: int) -> str:
    margin = "-inf" if entry["margin"] is None else f"{entry['margin']:+.3f}"
    raw = f"{entry['output']}  " if entry.get("output") is not None else ""
    return f"{entry['label']!s:<{width}}  {margin}  {raw}{entry['image']}"


def _csv_line(entry: dict[str, Any], columns: list[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow([entry.get(name) for name in columns])
    return stream.getvalue()
