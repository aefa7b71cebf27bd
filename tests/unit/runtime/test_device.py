import csv
import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from fleet.bundle import Bundle, Manifest
from fleet.bundle.package import write_bundle
from fleet.cli.bundle import package
from fleet.cli.predict import predict
from fleet.data import load_data
from fleet.encoding import IntervalEncoding
from fleet.errors import BackendError, BundleError, DataError
from fleet.models import Classifier, build_classifier, weights_bytes
from fleet.runtime import DeviceClassifier, Prediction, load_bundle
from fleet.runtime.classifier import load_engine
from fleet.runtime.engine import FloatArray
from unit.bundle import bundle_samples as samples

torch.set_num_threads(1)


def network(manifest: Manifest, seed: int = 3) -> Classifier:
    """The network that a manifest describes, with random weights."""
    model, images = manifest.model, manifest.preprocessing
    return build_classifier(
        architecture=model.architecture,
        head=model.head,
        task=manifest.task,
        encoding=manifest.encoding,
        num_classes=model.num_classes,
        input_shape=model.input_shape,
        mean=images.mean,
        std=images.std,
        width=model.width,
        batch_norm=model.batch_norm,
        seed=seed,
    ).eval()


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    found: Manifest = samples.manifest(b"")
    return dataclasses.replace(found, model=dataclasses.replace(found.model, width=0.125))


def with_weights(manifest: Manifest, weights: bytes) -> Bundle:
    return Bundle(dataclasses.replace(manifest, payload=samples.manifest(weights).payload), weights)


@pytest.fixture(scope="module")
def bundle(manifest: Manifest) -> Bundle:
    return with_weights(manifest, weights_bytes(network(manifest)))


@pytest.fixture
def path(bundle: Bundle, tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "a.fleet", bundle.manifest, bundle.model).path


@pytest.fixture
def device(path: Path) -> DeviceClassifier:
    return load_bundle(path)


@pytest.fixture
def images() -> Any:
    return np.random.default_rng(0).integers(0, 256, (300, 1, 28, 28), dtype=np.uint8)


class Fixed:
    """An engine that says what it was told."""

    def __init__(self, outputs: list[Any]) -> None:
        self.said = np.array(outputs, dtype=np.float32)

    def outputs(self, images: FloatArray) -> FloatArray:
        assert images.dtype == np.float32
        return self.said[: len(images)]


def test_predictions_are_those_of_the_network(
    device: DeviceClassifier, manifest: Manifest, images: Any
) -> None:
    classifier = network(manifest)
    with torch.inference_mode():
        outputs = classifier(torch.tensor(images).float() / 255)
    labels = classifier.decode(outputs).tolist()
    found = device.predict(images)
    assert [-1 if p.index is None else p.index for p in found] == labels
    assert manifest.encoding is not None
    margins = manifest.encoding.margin_array(outputs.numpy())
    assert [p.margin for p in found] == pytest.approx(margins.tolist(), abs=1e-5)


def test_every_form_of_the_same_images_gives_the_same_predictions(
    device: DeviceClassifier, images: Any
) -> None:
    few = images[:5]
    expected = device.predict(few)
    unit = few.astype(np.float32) / 255
    unit.setflags(write=False)
    for same in (few[:, 0], unit, unit[:, 0], torch.tensor(few), torch.tensor(unit)):
        assert device.predict(same) == expected
    assert device.predict(np.asfortranarray(unit)) == expected
    assert device.predict(torch.tensor(unit, requires_grad=True)) == expected
    assert device.predict(few[:0]) == []


def test_an_interval_gives_a_label_and_a_gap_gives_none(manifest: Manifest) -> None:
    # Intervals of 16, gaps of 4; slots 2, 0, 1: cat [40, 56], dog [0, 16], bird [20, 36].
    device = DeviceClassifier(manifest, Fixed([8, 48, 18, -10, np.nan, np.inf, 16]))
    assert device.predict(np.zeros((7, 28, 28), np.uint8)) == [
        Prediction("dog", 1, 0.4),
        Prediction("cat", 0, 0.4),
        Prediction(None, None, -0.1),
        Prediction(None, None, -0.5),
        Prediction(None, None, -np.inf),
        Prediction(None, None, -np.inf),
        Prediction("dog", 1, 0.0),
    ]


def test_logits_give_the_largest_and_its_lead(manifest: Manifest) -> None:
    plain = dataclasses.replace(manifest, task="tra", encoding=None)
    said = [[1, 4, 2], [0, 0, 0], [np.nan, 1, 2], [np.inf, np.inf, 0], [-3, -2.5, -1]]
    found = DeviceClassifier(plain, Fixed(said)).predict(np.zeros((5, 28, 28), np.uint8))
    assert found == [
        Prediction("dog", 1, 2.0),
        Prediction("cat", 0, 0.0),
        Prediction(None, None, -np.inf),
        Prediction(None, None, -np.inf),
        Prediction("bird", 2, 1.5),
    ]


def test_a_logits_bundle_runs_too(manifest: Manifest, tmp_path: Path, images: Any) -> None:
    model = dataclasses.replace(manifest.model, head="logits")
    plain = dataclasses.replace(manifest, task="hin", encoding=None, model=model)
    bundle = with_weights(plain, weights_bytes(network(plain)))
    path = write_bundle(tmp_path / "h.fleet", bundle.manifest, bundle.model).path
    found = load_bundle(str(path)).predict(images[:20])
    assert all(p.label == samples.NAMES[p.index] and p.margin >= 0 for p in found)


def test_the_scalar_is_not_part_of_a_prediction() -> None:
    fields = {field.name for field in dataclasses.fields(Prediction)}
    assert fields == {"label", "index", "margin"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((2, 1, 32, 32), np.uint8), r"images have shape \(2, 1, 32, 32\); this device"),
        (np.zeros((2, 3, 28, 28), np.uint8), r"takes \('N', 1, 28, 28\)"),
        (np.zeros((27, 28), np.float32), r"images have shape \(27, 28\)"),
        (np.zeros((2, 28, 28), np.int64), "images are int64"),
        (np.zeros((2, 28, 28), np.float64), "images are float64"),
        (np.zeros((2, 28, 28), np.bool_), "images are bool"),
        (np.full((2, 28, 28), 255, np.float32), r"pixels run from 255\.0 to 255\.0"),
        (np.full((2, 28, 28), -0.01, np.float32), r"must be in \[0, 1\]"),
        (np.full((2, 28, 28), np.nan, np.float32), "pixels run from nan"),
        (np.full((2, 28, 28), np.inf, np.float32), "pixels run from inf"),
        ([[0.0]], "a picture is list of float64"),
        (3, "images are a int"),
        ("digit.png", "cannot read the image digit.png"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.bfloat16), "images cannot be read"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.int64), "images are int64"),
    ],
)
def test_unusable_images_are_refused(device: DeviceClassifier, wrong: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        device.predict(wrong)


def test_files_of_any_size_and_mode_are_read(
    device: DeviceClassifier, tmp_path: Path, images: Any
) -> None:
    exact, colour = tmp_path / "exact.png", tmp_path / "colour.jpg"
    Image.fromarray(images[0, 0]).save(exact)
    Image.new("RGB", (90, 60), (200, 30, 30)).save(colour)
    found = device.predict_files([exact, colour])
    assert len(found) == 2
    assert device.predict_files([exact]) == device.predict(images[:1])
    assert device.predict_files([]) == []


def test_a_device_sees_a_file_as_its_training_did(
    device: DeviceClassifier, tmp_path: Path, images: Any
) -> None:
    """One that is turned and partly transparent: the folder's reader and the device agree."""
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = np.tri(28, dtype=np.uint8) * 200
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
        for i in range(2):
            image = Image.fromarray(np.dstack([images[i, 0], alpha]), "LA")
            image.save(tmp_path / part / "a" / f"{i}.png", exif=exif)
    data = load_data(
        "folder", tmp_path, channels=1, image_size=28, num_classes=1, validation=0, split_seed=1
    )
    seen = data.test.images(torch.arange(2))
    assert seen[:, 0, 27, 0].tolist() != images[:2, 0, 27, 0].tolist()
    files = [tmp_path / "test" / "a" / f"{i}.png" for i in range(2)]
    assert device.predict_files(files) == device.predict(seen)


def test_an_unreadable_file_is_named(device: DeviceClassifier, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.new("L", (28, 28)).save(good)
    bad.write_bytes(good.read_bytes()[:40])
    for wrong in (bad, tmp_path / "absent.png", tmp_path):
        with pytest.raises(DataError, match=wrong.name):
            device.predict_files([good, wrong])


def test_weights_of_another_network_are_refused(manifest: Manifest, bundle: Bundle) -> None:
    wider = dataclasses.replace(manifest, model=dataclasses.replace(manifest.model, width=0.25))
    with pytest.raises(BundleError, match=r"needs backbone\.layers\.0\.weight of shape"):
        load_engine("torch", Bundle(wider, bundle.model))
    deeper = dataclasses.replace(
        manifest, model=dataclasses.replace(manifest.model, architecture="resnet18")
    )
    with pytest.raises(BundleError, match=r"the weights have nothing"):
        load_engine("torch", Bundle(deeper, bundle.model))


def test_weights_for_another_number_of_classes_are_refused(manifest: Manifest) -> None:
    model = dataclasses.replace(manifest.model, head="logits")
    three = dataclasses.replace(manifest, task="tra", encoding=None, model=model)
    weights = weights_bytes(network(three))
    four = dataclasses.replace(three, model=dataclasses.replace(model, num_classes=4))
    with pytest.raises(BundleError, match="the weights of 'cam-01' do not fit its manifest"):
        load_engine("torch", with_weights(four, weights))


def test_weights_for_another_encoding_are_refused(manifest: Manifest, bundle: Bundle) -> None:
    other = dataclasses.replace(manifest, encoding=IntervalEncoding(3, 1.0, 3.0))
    with pytest.raises(BundleError, match="belong to another encoding"):
        load_engine("torch", Bundle(other, bundle.model))


def test_a_manifest_of_a_giant_network_costs_nothing(manifest: Manifest, bundle: Bundle) -> None:
    """2 KB of manifest describe 10 TB of weights; shapes are compared before memory is taken."""
    giant = dataclasses.replace(
        manifest,
        model=dataclasses.replace(manifest.model, width=16.0, input_shape=(1, 1024, 1024)),
    )
    with pytest.raises(BundleError, match="needs backbone"):
        load_engine("torch", Bundle(giant, bundle.model))


def test_a_network_that_cannot_be_built_is_a_bundle_error(
    manifest: Manifest, bundle: Bundle
) -> None:
    small = dataclasses.replace(
        manifest, model=dataclasses.replace(manifest.model, input_shape=(1, 8, 8))
    )
    with pytest.raises(BundleError, match=r"do not fit its manifest: .*at least 16 pixels"):
        load_engine("torch", Bundle(small, bundle.model))


def test_an_unknown_engine_is_named(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match="there is no engine 'abacus'"):
        load_engine("abacus", bundle)  # type: ignore[arg-type]


def test_a_machine_without_torch_says_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "fleet.runtime.torch_engine", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendError, match="the torch engine cannot start") as caught:
        load_bundle(path)
    assert "interval-fleet[train]" in str(caught.value.hint)


def test_a_machine_without_pillow_says_what_to_install(
    device: DeviceClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fleet.data.pictures", None)
    with pytest.raises(BackendError, match="image files cannot be read here") as caught:
        device.predict_files([Path("x.png")])
    assert "pip install pillow" in str(caught.value.hint)


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    found = typer.Typer()
    found.command()(predict)
    found.command()(package)
    return found


def test_the_command_gives_a_label_and_a_margin_for_each_file(
    app: typer.Typer, path: Path, device: DeviceClassifier, tmp_path: Path
) -> None:
    files = [tmp_path / f"{shade}.png" for shade in (0, 255)]
    for shade, file in zip((0, 255), files, strict=True):
        Image.new("L", (28, 28), shade).save(file)
    expected = device.predict_files(files)
    arguments = ["predict", str(path), *map(str, files)]
    lines = CliRunner().invoke(app, arguments).stdout.splitlines()
    assert [line.split()[0] for line in lines] == [str(p.label) for p in expected]
    assert [line.split()[2] for line in lines] == [str(file) for file in files]
    value = json.loads(CliRunner().invoke(app, [*arguments, "--format", "json"]).stdout)
    assert value["device"] == "cam-01"
    assert [entry["margin"] for entry in value["predictions"]] == [p.margin for p in expected]
    assert set(value["predictions"][0]) == {"image", "label", "index", "margin"}


def test_the_command_stays_json_where_the_output_is_not_finite(
    app: typer.Typer, manifest: Manifest, tmp_path: Path
) -> None:
    broken = network(manifest)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    bundle = with_weights(manifest, weights_bytes(broken))
    path = write_bundle(tmp_path / "nan.fleet", bundle.manifest, bundle.model).path
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    done = CliRunner().invoke(
        app, ["predict", str(path), str(tmp_path / "a.png"), "--format", "json"]
    )
    (entry,) = json.loads(done.stdout)["predictions"]
    assert (entry["label"], entry["index"], entry["margin"]) == (None, None, None)


@pytest.fixture
def album(tmp_path: Path, images: Any) -> Path:
    """A directory of two pictures, one broken file and a note, with one more picture below."""
    folder = tmp_path / "album"
    (folder / "below").mkdir(parents=True)
    for i, place in enumerate(("a.png", "c.png", "below/d.png")):
        Image.fromarray(images[i, 0]).save(folder / place)
    (folder / "b.png").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_predict_takes_directories_and_goes_on_past_a_bad_file(
    app: typer.Typer, path: Path, album: Path, device: DeviceClassifier
) -> None:
    good = [album / name for name in ("a.png", "c.png", "below/d.png")]
    expected = [p.margin for p in device.predict_files(good)]
    words = ["predict", str(path), str(album), "--recursive"]
    done = CliRunner().invoke(app, [*words, "--format", "json"])
    assert done.exit_code == 1
    value = json.loads(done.stdout)
    assert [entry["image"] for entry in value["predictions"]] == list(map(str, good))
    assert [entry["margin"] for entry in value["predictions"]] == pytest.approx(expected)
    assert [entry["image"] for entry in value["errors"]] == [str(album / "b.png")]
    assert f"error: cannot read the image {album / 'b.png'}" in done.stderr
    assert "1 of 4 images could not be read" in done.stderr
    lines = CliRunner().invoke(app, [*words, "--format", "jsonl"]).stdout.splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry for entry in entries if "error" not in entry] == value["predictions"]
    assert [Path(entry["image"]).name for entry in entries] == ["a.png", "b.png", "c.png", "d.png"]
    table = CliRunner().invoke(app, [*words, "--format", "csv"]).stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [float(row["margin"]) for row in rows if row["margin"]] == pytest.approx(expected)
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]
    human = CliRunner().invoke(app, words)
    assert (human.exit_code, len(human.stdout.splitlines())) == (1, 3)
    (album / "b.png").unlink()
    flat = CliRunner().invoke(app, ["predict", str(path), str(album), "--format", "csv"])
    assert (flat.exit_code, len(flat.stdout.splitlines())) == (0, 3)


def test_predict_checks_the_paths_before_it_loads_anything(
    app: typer.Typer, album: Path, tmp_path: Path
) -> None:
    words = ["predict", str(tmp_path / "no.fleet")]
    absent = [str(tmp_path / "x.png"), str(album), str(tmp_path / "y.png")]
    done = CliRunner().invoke(app, [*words, *absent])
    assert isinstance(done.exception, DataError)
    assert done.exception.message == f"no such image: {absent[0]}, {absent[2]}"
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    done = CliRunner().invoke(app, [*words, str(tmp_path / "empty")])
    assert isinstance(done.exception, DataError)
    assert "--recursive" in str(done.exception.hint)
    done = CliRunner().invoke(app, [*words, str(album / "a.png")])
    assert isinstance(done.exception, BundleError)
