"""What the features of a network are worth, measured where they are and not in a picture.

All measures take the features as arrays, (N, D). They are converted to float64. A silhouette is
not changed by one factor for all dimensions, but by one for each; so where it decides something,
give it for the features as they are and for :func:`standardised` ones.
"""

from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fleet.attacks.gradient import attackable
from fleet.data import to_unit
from fleet.errors import AuditError, BackendError
from fleet.models import Classifier

Features = NDArray[Any]
"""Any real dtype, (N, D)."""

Labels = NDArray[np.int64]
"""Classes, (N,)."""

NEIGHBOURS = 10
"""Neighbours of :func:`purity`."""

PERPLEXITY = 30.0
"""Of :func:`embed`."""

LEAST_IMAGES = 100
"""t-SNE looks at as many neighbours as 3 times its perplexity; these have to be some of all."""


def penultimate(
    classifier: Classifier, images: torch.Tensor, *, batch_size: int = 250
) -> NDArray[np.float32]:
    """Compute the input of the last layer, in fp32 and eval mode.

    Args:
        classifier: Any device; left exactly as it was.
        images: uint8 (N, C, H, W), N of 1 or more.
        batch_size: Changes the time and the memory.

    Returns:
        float32 (N, D).

    Raises:
        DataError: The images have another shape than the classifier takes.
    """
    place = classifier.mean.device
    with attackable(classifier), torch.inference_mode():
        parts = [classifier.features(to_unit(x.to(place))).cpu() for x in images.split(batch_size)]
    return cast(NDArray[np.float32], torch.cat(parts).numpy())


def decided(classifier: Classifier, features: NDArray[np.float32]) -> Labels:
    """Decode what the last layer makes of :func:`penultimate` features.

    Returns:
        int64 (N,); -1 where the output is rejected.
    """
    with torch.inference_mode():
        given = torch.from_numpy(features).to(classifier.mean.device)
        outputs = classifier.outputs(classifier.head(given))
        return cast(Labels, classifier.decode(outputs).cpu().numpy())


def standardised(features: Features, like: Features | None = None) -> NDArray[np.float64]:
    """Shift and scale each dimension to mean 0 and standard deviation 1.

    Args:
        features: (N, D).
        like: Where mean and standard deviation are taken from, (M, D); ``features`` by default.
            A dimension that never varies there is only shifted.
    """
    source = _float64(features if like is None else like)
    # From the first row, because the mean of equal numbers is rounded and would not be theirs.
    moved, origin = source - source[0], source[0]
    mean, spread = moved.mean(0), moved.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    return cast(NDArray[np.float64], (_float64(features) - origin - mean) / scale)


def effective_dimension(features: Features) -> float:
    """Participation ratio of the covariance, ``(sum lambda)^2 / sum lambda^2``.

    D if all dimensions vary alike and apart from each other, 1 on a line, 0 if nothing varies.
    The centres of K classes that are equally far from each other span K - 1.
    """
    moved = _float64(features)
    moved = moved - moved[0]  # so that equal rows are 0, as their rounded mean would not leave them
    centred = moved - moved.mean(0)
    scatter = centred.T @ centred
    trace = float(np.trace(scatter))
    return trace**2 / float((scatter**2).sum()) if trace > 0 else 0.0


def silhouette(features: Features, labels: Labels) -> float:
    """Mean silhouette under Euclidean distances (Rousseeuw 1987).

    For each image ``(b - a) / max(a, b)``, with ``a`` its mean distance to its own class and ``b``
    that to the nearest other class.

    Returns:
        In [-1, 1]; 1 if classes are points, 0 if they cannot be told apart.

    Raises:
        AuditError: There are fewer than two classes, or no more images than classes.
        BackendError: scikit-learn is not installed.
    """
    classes = len(np.unique(labels))
    if not 2 <= classes < len(labels):
        raise AuditError(
            f"{len(labels)} images of {classes} classes have no silhouette",
            hint="give several images of two classes or more",
        )
    return float(_sklearn("metrics").silhouette_score(_float64(features), labels))


def purity(features: Features, labels: Labels, neighbours: int = NEIGHBOURS) -> float:
    """Share of each image's nearest neighbours, itself left out, that have its label.

    Args:
        features: (N, D).
        labels: (N,).
        neighbours: Nearest other images under the Euclidean distance; fewer than N.

    Returns:
        In [0, 1]; for features without information the expected share of the own class.

    Raises:
        AuditError: There are too few images.
        BackendError: scikit-learn is not installed.
    """
    if len(labels) <= neighbours:
        raise AuditError(
            f"{len(labels)} images have no {neighbours} neighbours each", hint="give more images"
        )
    nearest = _sklearn("neighbors").NearestNeighbors(n_neighbors=neighbours)
    found = nearest.fit(_float64(features)).kneighbors(return_distance=False)
    return float((labels[found] == labels[:, None]).mean())


def probe_accuracy(
    features: Features, labels: Labels, *, fit_features: Features, fit_labels: Labels
) -> float:
    """Accuracy of a linear probe (Alain and Bengio 2016) that never saw these images.

    Multinomial logistic regression on features standardised like those that it is fitted on, with
    scikit-learn's own L2 penalty, C = 1. It is not tuned: on the paper's NN, TRA and INT, C from
    0.01 to 10 changed the accuracy on 2,000 MNIST images by at most 0.0035.

    Args:
        features: Scored on, (N, D).
        labels: (N,).
        fit_features: Fitted on, (M, D); of other images.
        fit_labels: (M,).

    Raises:
        AuditError: The probe is fitted on a single class.
        BackendError: scikit-learn is not installed.
    """
    if len(np.unique(fit_labels)) < 2:
        raise AuditError("a probe needs two classes or more", hint="fit it on more images")
    probe = _sklearn("linear_model").LogisticRegression(max_iter=10_000)
    probe.fit(standardised(fit_features), fit_labels)
    return float(probe.score(standardised(features, fit_features), labels))


def embed(features: Features, *, seed: int) -> NDArray[np.float32]:
    """Lay features out in the plane by t-SNE (van der Maaten and Hinton 2008).

    Starts from the first two principal components, perplexity 30, all else as scikit-learn has it.
    Sizes of clusters and distances between them mean little here. It keeps to one thread: two gave
    the same bits, but took ten times as long beside another load (40 s, not 4, for 500 images).

    Args:
        features: (N, D), N of at least :data:`LEAST_IMAGES`.
        seed: scikit-learn's ``random_state``, in [0, 2^32); without effect where the principal
            components are computed exactly, as for 32 features.

    Returns:
        float32 (N, 2).

    Raises:
        AuditError: There are too few images, or their features are all the same.
        BackendError: scikit-learn is not installed.
    """
    if len(features) < LEAST_IMAGES or effective_dimension(features) == 0:
        raise AuditError(
            f"t-SNE needs {LEAST_IMAGES} images or more with features that differ, "
            f"these are {len(features)}",
            hint="give more images, or look at the network",
        )
    method = _sklearn("manifold").TSNE(
        perplexity=PERPLEXITY, init="pca", random_state=seed, n_jobs=1
    )
    with _library("threadpoolctl").threadpool_limits(1):
        return cast(NDArray[np.float32], method.fit_transform(_float64(features)))


def _float64(features: Features) -> NDArray[np.float64]:
    return np.asarray(features, dtype=np.float64)


def _sklearn(part: str) -> Any:
    return _library(f"sklearn.{part}")


def _library(name: str) -> Any:
    """Import scikit-learn, or a part of it that it brings along, when it is first needed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise BackendError(
            f"measures of features need scikit-learn, which cannot be imported ({error})",
            hint='install it with `pip install "interval-fleet[train]"`',
        ) from error
