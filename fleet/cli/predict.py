"""``fleet predict``: decide what is on images, as a device would."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.output import Format, Output
from fleet.errors import DataError

if TYPE_CHECKING:
    from fleet.runtime import DeviceClassifier, Prediction

_CHUNK = 256
"""Images between two writes of ``jsonl`` and ``csv``."""

_COLUMNS = ("image", "label", "index", "margin", "error")


class PredictionFormat(StrEnum):
    """How decisions are written: ``jsonl`` and ``csv`` as they come, a line for each image."""

    auto = "auto"
    human = "human"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


ImagesArgument = Annotated[
    list[Path],
    typer.Argument(metavar="IMAGE", help="JPEG, PNG, BMP or WebP files, or directories of them."),
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Take what lies below directories too.")
]
FormOption = Annotated[
    PredictionFormat, typer.Option("--format", help="How to write the result to stdout.")
]


def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .fleet file.")],
    images: ImagesArgument,
    recursive: Recursive = False,
    form: FormOption = PredictionFormat.auto,
) -> None:
    """Decide what is on images, as the device would: a class, or None, with its margin.

    The margin is how far the output is from another decision; it is below 0 in a gap. An image that
    cannot be read is named, the others are decided on, and the exit code is 1.

    Example: fleet predict cam-01-2026.11.1.fleet photos --recursive --format csv
    """
    paths = list_pictures(images, recursive)  # before anything is loaded

    from fleet.runtime import load_bundle

    write_predictions(load_bundle(bundle), paths, form)


def list_pictures(paths: list[Path], recursive: bool) -> list[Path]:
    """Replace directories by the pictures in them, sorted.

    Raises:
        DataError: Some paths are not there (all are named), or a directory holds no picture.
    """
    from fleet.data.folder import pictures_in

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
    classifier: DeviceClassifier, paths: list[Path], form: PredictionFormat
) -> None:
    """Decide on images, write a line for each, and name those that cannot be read.

    Raises:
        typer.Exit: Code 1, if some cannot be read.
    """
    lines = form in {PredictionFormat.jsonl, PredictionFormat.csv}
    output = Output(Format.auto if lines else Format(form.value))
    manifest, entries = classifier.manifest, []
    if form is PredictionFormat.csv:
        typer.echo(",".join(_COLUMNS))
    for entry in _decide(classifier, paths):
        if "error" in entry:
            output.note(f"error: {entry['error']}")
        if form is PredictionFormat.jsonl:
            typer.echo(json.dumps(entry))
        elif form is PredictionFormat.csv:
            typer.echo(_csv_line(entry))
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
        output.note(f"{len(broken)} of {len(entries)} images could not be read")
        raise typer.Exit(1)


def _decide(classifier: DeviceClassifier, paths: list[Path]) -> Iterator[dict[str, Any]]:
    """Decisions in order; what cannot be read has an ``error`` instead."""
    for start in range(0, len(paths), _CHUNK):
        chunk = paths[start : start + _CHUNK]
        broken: dict[Path, str] = {}
        try:
            found = classifier.predict_files(chunk)
        except DataError:
            from fleet.data.pictures import Frame
            from fleet.data.survey import broken_pictures

            images = classifier.manifest.preprocessing
            frame = Frame(images.channels, images.image_size, images.fit)
            broken = broken_pictures(chunk, frame)
            if not broken:
                raise
            found = classifier.predict_files([path for path in chunk if path not in broken])
        decided = iter(found)
        for path in chunk:
            if path in broken:
                yield {"image": str(path), "error": broken[path]}
            else:
                yield _entry(path, next(decided))


def _entry(path: Path, prediction: Prediction) -> dict[str, Any]:
    margin = prediction.margin if math.isfinite(prediction.margin) else None
    return {
        "image": str(path),
        "label": prediction.label,
        "index": prediction.index,
        "margin": margin,
    }


def _line(entry: dict[str, Any], width: int) -> str:
    margin = "-inf" if entry["margin"] is None else f"{entry['margin']:+.3f}"
    return f"{entry['label']!s:<{width}}  {margin}  {entry['image']}"


def _csv_line(entry: dict[str, Any]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow([entry.get(name) for name in _COLUMNS])
    return stream.getvalue()
