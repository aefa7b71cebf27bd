"""Fit one device: a job that can be killed at any moment and resumed to the same weights."""

import hashlib
import json
import math
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fleet.accelerator import accelerator_words, torch_device
from fleet.assembly import new_classifier, run_images
from fleet.data import ImageData, Split
from fleet.errors import TrainingError
from fleet.execution import ProgressReporter
from fleet.execution.jobs import peak_memory
from fleet.files import read_bytes, remove, write_bytes, write_json, write_text
from fleet.models import Classifier, weights_bytes
from fleet.models.heads import LinearHead
from fleet.profiles.spec import DataSpec, DeviceSpec
from fleet.provenance import fleet_version, utc_now
from fleet.rundir import RunDirectory
from fleet.seeding import derive_seed
from fleet.training.adversarial import Adversarial
from fleet.training.batches import Tally, epoch_order, evaluate, training_batch
from fleet.training.certified import Certified
from fleet.training.checkpoint import Position, load_checkpoint, save_checkpoint
from fleet.training.cross import Cross
from fleet.training.gradients import Gradients
from fleet.training.method import Batch, Method, Standard, build_optimizer
from fleet.vocabulary import plain_settings

METHODS: dict[str, type[Method]] = {
    "standard": Standard,
    "adversarial": Adversarial,
    "certified": Certified,
    "cross": Cross,
}
"""Class of each ``training.method``."""


CHECKPOINT_SECONDS = 30.0
"""A checkpoint is written after each epoch, and inside a long epoch this often."""

REPORT_STEPS = 20
"""Progress is reported every so many steps, ..."""

REPORT_SECONDS = 2.0
"""... and of slow steps this often, so that the first of them tell how long the rest takes."""

RESULT_SCHEMA = "fleet.result/1"


@dataclass(frozen=True)
class FitJob:
    """Everything that one training needs.

    Attributes:
        run: Where to write.
        device: What to train.
        data: On which images.
        profile_digest: Digest of the whole profile, for the record.
    """

    run: RunDirectory
    device: DeviceSpec
    data: DataSpec
    profile_digest: str


def fit_device(job: FitJob, *, progress: ProgressReporter) -> dict[str, Any]:
    """Train one device, from its checkpoint if there is one, and write its weights and result.

    Every random choice is keyed by seed, device, epoch and step, so that an interrupted training
    ends with the same bits as an unbroken one on the same machine with the same threads. The
    initial weights are drawn on the CPU, whatever the accelerator.

    Returns:
        The content of ``result.json``.

    Raises:
        TrainingError: The loss is no longer finite, or grew tenfold.
        CheckpointError: The checkpoint belongs to another training.
        DataError: The images cannot be read.
        StorageError: Something cannot be written.
    """
    place = torch_device()
    images = run_images(job.run, job.data).to(place)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        fit = _begin(job, images, place)
        try:
            _train(fit, progress)
        except TrainingError as error:
            failure = {"status": "failed", "device": job.device.name, "error": error.message}
            write_json(job.run.result(job.device.name), {"schema": RESULT_SCHEMA, **failure})
            raise
        return _finish(fit)


@dataclass(frozen=True)
class _Fit:
    """One training in progress."""

    job: FitJob
    images: ImageData
    classifier: Classifier
    optimizer: torch.optim.Optimizer
    method: Method
    gradients: Gradients
    position: Position
    identity: str

    def save(self) -> None:
        path = self.job.run.checkpoint(self.job.device.name)
        self._write(path)

    def save_epoch_start(self) -> None:
        """Keep what a method that rolls an epoch back comes back to, over a kill too."""
        if self.method.rolls_back and self.position.step == 0:
            self._write(self.job.run.epoch_start(self.job.device.name))

    def roll_back(self) -> None:
        """Return to the epoch's start; the method keeps what it learnt, the clock goes on."""
        path, seconds = self.job.run.epoch_start(self.job.device.name), self.position.seconds
        position, _ = load_checkpoint(path, self.classifier, self.optimizer, identity=self.identity)
        vars(self.position).update(vars(position), seconds=seconds)

    def seed(self, *what: int | str) -> None:
        """Seed torch's global generator for one use of it."""
        device = self.job.device
        torch.manual_seed(derive_seed(device.training.seed, device.name, *what))

    def validate(self) -> dict[str, int]:
        self.seed(self.position.epoch, self.position.step, "evaluation")
        self.method.before_evaluation(final=False)
        return self.score(self.images.validation)

    def score(self, split: Split) -> dict[str, int]:
        batch_size = self.job.device.training.batch_size
        return asdict(evaluate(self.classifier, split, batch_size=batch_size))

    def _write(self, path: Path) -> None:
        save_checkpoint(
            path,
            self.classifier,
            self.optimizer,
            self.position,
            identity=self.identity,
            method=self.method.state(),
        )


def _begin(job: FitJob, images: ImageData, place: torch.device) -> _Fit:
    device = job.device
    classifier = new_classifier(device, job.data, images.mean, images.std)
    classifier.to(place).to(memory_format=torch.channels_last)
    method = METHODS[device.training.method](device, images, classifier)
    torch.manual_seed(derive_seed(device.training.seed, device.name, "begin"))
    method.begin()
    optimizer = build_optimizer(device.training, method.parameter_groups())
    identity = _identity(job, images)
    path = job.run.checkpoint(device.name)
    position = Position()
    with suppress(FileNotFoundError):
        position, state = load_checkpoint(path, classifier, optimizer, identity=identity)
        method.load_state(state)
    gradients = Gradients(method, optimizer)
    return _Fit(job, images, classifier, optimizer, method, gradients, position, identity)


def _train(fit: _Fit, progress: ProgressReporter) -> None:
    device, spec, position = fit.job.device, fit.job.device.training, fit.position
    saved = told = time.monotonic()
    while position.epoch < spec.epochs:
        epoch = position.epoch
        order = epoch_order(len(fit.images.train), spec.batch_size, spec.seed, device.name, epoch)
        total = spec.epochs * len(order)
        progress(epoch * len(order) + position.step, total, _words(position, spec.epochs))
        fit.save_epoch_start()
        fit.classifier.train()
        for step in range(position.step, len(order)):
            started = time.perf_counter()
            done = epoch * len(order) + step
            position.loss_sum += _step(fit, order[step], done, total)
            position.step = step + 1
            position.seconds += time.perf_counter() - started
            _validate_inside(fit, step + 1, len(order))
            if (done + 1) % REPORT_STEPS == 0 or time.monotonic() - told > REPORT_SECONDS:
                told = time.monotonic()
                progress(
                    done + 1, total, f"{_words(position, spec.epochs)}  {peak_memory():.1f} GB"
                )
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                fit.save()
                saved = time.monotonic()
        _end_epoch(fit, order.numel(), len(order))
        fit.save()
        saved = time.monotonic()
        progress(position.epoch * len(order), total, _words(position, spec.epochs))


def _step(fit: _Fit, indices: torch.Tensor, done: int, total: int) -> float:
    """One optimiser step; returns the batch's loss."""
    device, spec, position = fit.job.device, fit.job.device.training, fit.position
    epoch, step = position.epoch, position.step
    keys = (spec.seed, device.name, epoch, step)
    x, y = training_batch(fit.images.train, indices, *keys, shift=spec.shift, mirror=spec.mirror)
    rate = fit.method.learning_rate(done, total)
    for group in fit.optimizer.param_groups:
        group["lr"] = rate
    fit.seed(epoch, step, "dropout")
    value = fit.gradients(Batch(x, y, done, total, epoch))
    if not math.isfinite(value):
        raise _diverged(device, f"loss is {value} in epoch {epoch + 1}, step {step + 1}")
    if spec.gradient_clip is not None:
        trained = [value for group in fit.optimizer.param_groups for value in group["params"]]
        torch.nn.utils.clip_grad_norm_(trained, spec.gradient_clip)
    fit.optimizer.step()
    return value


def _validate_inside(fit: _Fit, steps: int, whole: int) -> None:
    """Validate inside an epoch, where the profile asks for it; the end of the epoch does anyway."""
    every = fit.job.device.training.validate_every
    if every is not None and steps % every == 0 and steps < whole:
        point = {"step": steps, "steps": whole, "validation": fit.validate()}
        fit.position.curve.append(point)


def _end_epoch(fit: _Fit, images: int, steps: int) -> None:
    """Validate, append to the metrics and move the position on, or back to the epoch's start."""
    device, position = fit.job.device, fit.position
    loss, epoch = position.loss_sum / steps, position.epoch
    history, limit = position.history, fit.method.growth_limit
    if history and limit is not None and loss > limit * history[0]["loss"]:
        raise _diverged(device, f"loss grew to {loss:.3g} in epoch {epoch + 1}")
    if not all(bool(value.isfinite().all()) for value in fit.classifier.parameters()):
        raise _diverged(device, f"weights are not finite after epoch {epoch + 1}")
    started = time.perf_counter()
    fit.seed(epoch, "end")
    verdict = fit.method.end_epoch(epoch)
    position.seconds += time.perf_counter() - started
    if not verdict.keep:
        fit.roll_back()
        return
    history.append(
        {
            "epoch": epoch + 1,
            "loss": loss,
            "validation": fit.validate(),
            "images_per_second": round((epoch + 1) * images / position.seconds),
            **({"curve": position.curve} if position.curve else {}),
            **verdict.metrics,
        }
    )
    position.epoch, position.step = epoch + 1, 0
    position.loss_sum, position.curve = 0.0, []
    lines = "".join(json.dumps(line, sort_keys=True) + "\n" for line in history)
    write_text(fit.job.run.metrics(device.name), lines)


def _finish(fit: _Fit) -> dict[str, Any]:
    """Write the weights, score the test set and, last of all, write the result: complete."""
    job, name = fit.job, fit.job.device.name
    fit.seed("finish")
    fit.method.before_evaluation(final=True)
    _settle(fit)
    weights = weights_bytes(fit.classifier)
    write_bytes(job.run.model(name), weights)  # whatever becomes of the test images
    result = {
        "schema": RESULT_SCHEMA,
        "device": name,
        "status": "complete",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "weights_bytes": len(weights),
        "validation": fit.position.history[-1]["validation"],
        "test": fit.score(fit.images.test),
        "epochs": fit.position.epoch,
        "seconds": round(fit.position.seconds, 3),
        "finished": utc_now(),
        "fleet_version": fleet_version(),
        "torch_version": torch.__version__,
        "accelerator": accelerator_words(),
        "profile_digest": job.profile_digest,
        **({} if fit.gradients.at_once is None else {"images_at_once": fit.gradients.at_once}),
    }
    write_json(job.run.result(name), result)
    remove(job.run.checkpoint(name))
    remove(job.run.epoch_start(name))
    return result


def _settle(fit: _Fit) -> None:
    """Bring the weights of a start at zero into the one form that everything else reads."""
    head, encoding = fit.classifier.head, fit.job.device.encoding
    if fit.job.device.training.start == "zero" and encoding and isinstance(head, LinearHead):
        head.settle(encoding)


def _identity(job: FitJob, images: ImageData) -> str:
    """Digest of all that determines the weights; the test images do not."""
    model, training = plain_settings(job.device.model), plain_settings(job.device.training)
    if job.device.model.weights is not None:
        model["weights"] = _sha256(job.device.model.weights)
    if job.device.training.pool:
        training["pool"] = [_sha256(path) for path in job.device.training.pool]
    spec = {
        "device": {
            **asdict(job.device),
            "model": model,
            "training": training,
        },
        "data": {k: v for k, v in asdict(job.data).items() if k not in {"root", "test_limit"}},
        "images": images.provenance["train_sha256"],
    }
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode("utf-8")).hexdigest()


def _sha256(path: str) -> str:
    return hashlib.sha256(read_bytes(Path(path))).hexdigest()


def _words(position: Position, epochs: int) -> str:
    text = f"epoch {min(position.epoch + 1, epochs)}/{epochs}"
    if position.history:
        tally = Tally(**position.history[-1]["validation"])
        text += f"  val {tally.accuracy:.4f}"
    return text


def _diverged(device: DeviceSpec, what: str) -> TrainingError:
    return TrainingError(
        f"{device.name}: {what}",
        hint=f"lower training.learning_rate (now {device.training.learning_rate:g}), "
        "set training.gradient_clip, or use `loss: scaled`",
    )
