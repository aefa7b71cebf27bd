"""The paper's Figure 2: what TRA and INT make of MNIST in their penultimate layer.

Each run keeps under ``audits/features``::

    scores/NAME.json       measures of one network's features
    embeddings/NAME.json   its picture
    pixels.json            the measures of the pixels, in the run that the picture shows

Each carries all that determines it, so that a reproduction that was killed goes on where it was.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fleet.assembly import run_images
from fleet.audit.core.cache import remember
from fleet.audit.core.jobs import AuditJob, describe_run, load_audited, run_all, take_sample
from fleet.audit.core.members import Sample, TransferSettings
from fleet.errors import AuditError
from fleet.execution import ProgressReporter
from fleet.models import Classifier
from fleet.paper import features, figure2_result
from fleet.paper.features import Features, Labels
from fleet.paper.workspace import HERE, TABLE1, Stage, Workspace
from fleet.profiles.spec import DeviceSpec, FamilySpec, read_family
from fleet.provenance import package_version, utc_now
from fleet.rundir import RunDirectory

KIND = "features"

PICTURE = "resnet18"
"""Backbone whose features Figure 2 draws; the paper does not say which."""

IMAGES, QUICK_IMAGES = 2000, 128
"""Test images of Figure 2."""

_DIGITS = 6
"""Measures are rounded to so many decimals; a share of 2,000 images has four."""


def reproduce(workspace: Workspace) -> figure2_result.Figure2:
    """Train Table 1's networks if they are not there, then measure and embed their features.

    Raises:
        FleetError: Images are missing, a network fails, or scikit-learn is not installed.
    """
    return reproduce_figure2(
        {backbone: workspace.trained(profile)[1] for backbone, profile in TABLE1.profiles},
        picture=PICTURE,
        images=QUICK_IMAGES if workspace.quick else IMAGES,
        stage=workspace.stage,
    )


def reproduce_figure2(
    runs: Mapping[str, RunDirectory],
    *,
    picture: str,
    images: int = 2000,
    probe_images: int = 5000,
    seed: int = 0,
    embed_seeds: Sequence[int] = (0,),
    stage: Stage = HERE,
) -> figure2_result.Figure2:
    """Measure the features of all TRA and INT networks, and draw up the picture of one backbone.

    Args:
        runs: Finished trainings by the name of their backbone, all on the same images.
        picture: Name of the backbone that the picture shows.
        images: Test images; all of the split if it has fewer.
        probe_images: Validation images on which linear probes are fitted.
        seed: Draws the images, and is t-SNE's random state.
        embed_seeds: Trainings whose features are embedded, TRA and INT each.
        stage: Says where the jobs run.

    Raises:
        AuditError: There are too few images, the runs do not fit together, or networks are missing.
        CheckpointError: A network is not finished, or a file of a run is damaged.
        DataError: The images cannot be read.
        BackendError: scikit-learn is not installed.
    """
    if images < features.LEAST_IMAGES:
        raise AuditError(
            f"{images} images are too few for figure 2", hint=f"use {features.LEAST_IMAGES} or more"
        )
    families = {name: read_family(run) for name, run in runs.items()}
    _check(families, picture, embed_seeds)
    plan = {name: _jobs(run, families[name], images, seed) for name, run in runs.items()}
    measured = []
    for name, jobs in plan.items():
        chosen = tuple(embed_seeds) if name == picture else ()
        measure = partial(
            measure_network, network=name, probe_images=probe_images, embed_seeds=chosen
        )
        with stage(f"measure features of {name}", len(jobs)) as executor:
            measured += run_all("measure", measure, jobs, executor)
    scores = tuple(score for score, _ in measured)
    first = plan[picture][0]
    sample, probe = load_audited(first)[1], _probe(first, probe_images)
    return figure2_result.Figure2(
        created=utc_now(),
        dataset=families[picture].data.dataset,
        networks=tuple(runs),
        scores=scores,
        pixels=_measure_pixels(first.run, sample, probe),
        embeddings=tuple(embedding for _, embedding in measured if embedding is not None),
        summary=figure2_result.summarise(scores),
        settings={**_settings(sample, probe), "picture": picture, "seed": seed},
        provenance={name: describe_run(run, families[name]) for name, run in runs.items()},
    )


def _jobs(run: RunDirectory, family: FamilySpec, images: int, seed: int) -> list[AuditJob]:
    settings = TransferSettings(eps=(0.1,), seed=seed)  # nothing is attacked: only the seed counts
    return [
        AuditJob(run, device.name, settings, images, "test", KIND) for device in _compared(family)
    ]


def _settings(sample: Sample, probe: Sample) -> dict[str, Any]:
    return {
        "images": len(sample.labels),
        "images_sha256": sample.digest(),
        "probe_images": len(probe.labels),
        "probe_split": "validation",
        "neighbours": features.NEIGHBOURS,
        "perplexity": features.PERPLEXITY,
        "start": "pca",
        "scikit-learn": package_version("scikit-learn"),
    }


def measure_network(
    job: AuditJob,
    *,
    network: str,
    probe_images: int,
    embed_seeds: tuple[int, ...],
    progress: ProgressReporter,
) -> tuple[figure2_result.FeatureScores, figure2_result.Embedding | None]:
    """Measure one network's features, and embed them if its seed is chosen; the body of a job."""
    device = read_family(job.run).device(job.device)
    member, sample = load_audited(job)
    probe = _probe(job, probe_images)
    name = {"network": network, "task": device.task, "seed": device.training.seed}
    key = {
        **name,
        "device_sha256": member.digest(),
        "images_sha256": sample.digest(),
        **_versions(),
    }
    place, file = job.run.audit(KIND), f"{device.name}.json"
    scores = remember(
        place / "scores" / file,
        {**key, "probe_sha256": probe.digest()},
        figure2_result.FeatureScores,
        lambda: _score(member.classifier, sample, probe, name),
    )
    embedding = None
    if device.training.seed in embed_seeds:
        progress(1, 2, "measured")
        embedding = remember(
            place / "embeddings" / file,
            {**key, "random_state": job.settings.seed},
            figure2_result.Embedding,
            lambda: _embed(member.classifier, sample, name, job.settings.seed),
        )
    progress(1, 1, f"silhouette {scores.silhouette:.3f}")
    return scores, embedding


def _score(
    classifier: Classifier, sample: Sample, probe: Sample, name: dict[str, Any]
) -> figure2_result.FeatureScores:
    found = features.penultimate(classifier, sample.images)
    labels = sample.labels.numpy()
    fitted = features.penultimate(classifier, probe.images)
    hits = features.decided(classifier, found) == labels
    measures = _measures(found, labels, fitted, probe.labels.numpy())
    return figure2_result.FeatureScores(**name, accuracy=float(hits.mean()), **measures)


def _embed(
    classifier: Classifier, sample: Sample, name: dict[str, Any], random_state: int
) -> figure2_result.Embedding:
    found = features.penultimate(classifier, sample.images)
    labels = sample.labels.numpy()
    points = features.embed(found, seed=random_state).astype(np.float64).round(2)
    return figure2_result.Embedding(
        **name,
        points=tuple((x, y) for x, y in points.tolist()),
        labels=tuple(labels.tolist()),
        decided=tuple(features.decided(classifier, found).tolist()),
        silhouette=round(features.silhouette(points, labels), _DIGITS),
        purity=round(features.purity(points, labels), _DIGITS),
    )


def _measure_pixels(run: RunDirectory, sample: Sample, probe: Sample) -> figure2_result.Measures:
    """What the images themselves give, without any network."""
    key = {"images_sha256": sample.digest(), "probe_sha256": probe.digest(), **_versions()}

    def make() -> figure2_result.Measures:
        shown, fitted = (part.images.flatten(1).numpy() / 255 for part in (sample, probe))
        labels = sample.labels.numpy()
        return figure2_result.Measures(**_measures(shown, labels, fitted, probe.labels.numpy()))

    return remember(run.audit(KIND) / "pixels.json", key, figure2_result.Measures, make)


def _measures(
    found: Features, labels: Labels, fit_features: Features, fit_labels: Labels
) -> dict[str, Any]:
    """Fields of :class:`Measures`."""
    values = {
        "effective_dimension": features.effective_dimension(found),
        "silhouette": features.silhouette(found, labels),
        "silhouette_standardised": features.silhouette(features.standardised(found), labels),
        "purity": features.purity(found, labels),
        "probe": features.probe_accuracy(
            found, labels, fit_features=fit_features, fit_labels=fit_labels
        ),
    }
    rounded = {name: round(value, _DIGITS) for name, value in values.items()}
    return {"n": len(labels), "dimension": found.shape[1], **rounded}


def _probe(job: AuditJob, images: int) -> Sample:
    """Draw the validation images on which linear probes are fitted."""
    data = run_images(job.run)
    return take_sample(data, dataclasses.replace(job, split="validation", images=images))


def _compared(family: FamilySpec) -> list[DeviceSpec]:
    """TRA and INT networks by seed, in the order of the tasks."""
    found = [device for device in family.devices if device.task in figure2_result.TASKS]
    return sorted(found, key=lambda d: (figure2_result.TASKS.index(d.task), d.training.seed))


def _check(families: Mapping[str, FamilySpec], picture: str, embed_seeds: Sequence[int]) -> None:
    if picture not in families:
        raise AuditError(
            f"there is no run of {picture} to draw", hint=f"one of {', '.join(families)}"
        )
    data = {dataclasses.replace(family.data, root=Path()) for family in families.values()}
    if len(data) > 1:
        raise AuditError(
            "the networks were trained on different images, or on different splits",
            hint="make `data` the same in all profiles",
        )
    for name, family in families.items():
        wanted = set(embed_seeds) if name == picture else set[int]()
        _check_seeds(name, family, wanted)


def _check_seeds(name: str, family: FamilySpec, wanted: set[int]) -> None:
    tra, interval = (
        [device.training.seed for device in _compared(family) if device.task == task]
        for task in figure2_result.TASKS
    )
    if not tra or tra != interval or len(set(tra)) < len(tra) or not wanted <= set(tra):
        raise AuditError(
            f"{name} has TRA networks of seeds {tra} and INT networks of seeds {interval}",
            hint="train one TRA and one INT network for each seed, and embed some of them",
        )


def _versions() -> dict[str, Any]:
    return {"scikit-learn": package_version("scikit-learn")}
