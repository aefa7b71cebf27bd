"""What ``fleet reproduce figure2`` found: measures of features, and the picture.

The stored form is JSON, so that documents and figures are rendered from it. Nothing in this module
imports torch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fleet.audit.core.document import Stored
from fleet.audit.core.result import pick
from fleet.paper.table_result import Spread

SCHEMA = "fleet.reproduction.figure2/1"

Task = Literal["tra", "int"]
Measure = Literal[
    "silhouette", "silhouette_standardised", "purity", "probe", "effective_dimension", "accuracy"
]

TASKS: tuple[Task, ...] = get_args(Task)
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True, kw_only=True)
class Measures:
    """How well features tell the classes apart.

    Attributes:
        n: Test images.
        dimension: Number of features, D.
        effective_dimension: Participation ratio of their covariance, 1 to D; 0 if none varies.
        silhouette: Of the true classes, features as they are, [-1, 1].
        silhouette_standardised: The same with each feature scaled to standard deviation 1.
        purity: Share of the 10 nearest other images that have an image's class.
        probe: Accuracy of a linear probe that was fitted on validation images.
    """

    n: int
    dimension: int
    effective_dimension: float
    silhouette: float
    silhouette_standardised: float
    purity: float
    probe: float

    def __post_init__(self) -> None:
        if not 0 <= self.effective_dimension <= self.dimension * (1 + 1e-9):
            raise ValueError(f"effective dimension {self.effective_dimension} of {self.dimension}")
        _check_shares((self.silhouette, self.silhouette_standardised), low=-1)
        _check_shares((self.purity, self.probe), low=0)


@dataclass(frozen=True, kw_only=True)
class FeatureScores(Measures):
    """The penultimate features of one trained network.

    Attributes:
        network: Backbone, as it was called.
        task: ``tra`` or ``int``.
        seed: Of its training.
        accuracy: Share of the same ``n`` images that the network itself decodes correctly.
    """

    network: str
    task: Task
    seed: int
    accuracy: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_shares((self.accuracy,), low=0)


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Features of one network laid out in the plane by t-SNE.

    Attributes:
        network: Backbone, as it was called.
        task: ``tra`` or ``int``.
        seed: Of its training.
        points: (x, y) of each test image, rounded to 2 decimals.
        labels: Its true class.
        decided: The class that the network decodes; -1 for None.
        silhouette: Of the true classes in the plane: what the eye sees.
        purity: Share of the 10 nearest other points in the plane that have a point's class.
    """

    network: str
    task: Task
    seed: int
    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    decided: tuple[int, ...]
    silhouette: float
    purity: float

    def __post_init__(self) -> None:
        if not 0 < len(self.points) == len(self.labels) == len(self.decided):
            raise ValueError(
                f"{len(self.points)} points, {len(self.labels)} labels, "
                f"{len(self.decided)} decisions"
            )
        _check_shares((self.silhouette,), low=-1)
        _check_shares((self.purity,), low=0)


@dataclass(frozen=True)
class Comparison:
    """INT beside TRA by one measure.

    A TRA and an INT network of the same seed have nothing in common: seeds are mixed with the
    device's name. So they are not paired; each INT network is compared with each TRA network.

    Attributes:
        network: Backbone.
        measure: Field of :class:`FeatureScores`.
        tra: Over the seeds.
        interval: The same for INT.
        difference: Mean of INT less mean of TRA.
        lowest: Least difference between any INT and any TRA network.
        highest: Largest; if both have one sign, every INT network differs from every TRA network
            in that direction.
    """

    network: str
    measure: Measure
    tra: Spread
    interval: Spread
    difference: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Figure2(Stored, schema=SCHEMA):
    """The paper's Figure 2, and what a picture cannot settle.

    Attributes:
        created: ISO 8601 UTC time.
        dataset: Name of the dataset.
        networks: Backbones, in the order in which they were given.
        scores: One for each network, task and seed.
        pixels: The same measures of the pixels themselves, scaled to [0, 1]: what features have
            to beat.
        embeddings: TRA and INT of one network, the same images and settings.
        summary: One for each network and measure.
        settings: Images, seeds, neighbours, perplexity, version of scikit-learn.
        provenance: For each network the dataset's digest, versions, machine, command line.

    Raises:
        ValueError: The figures contradict each other, or one is missing.
    """

    created: str
    dataset: str
    networks: tuple[str, ...]
    scores: tuple[FeatureScores, ...]
    pixels: Measures
    embeddings: tuple[Embedding, ...]
    summary: tuple[Comparison, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        named = tuple(dict.fromkeys(score.network for score in self.scores))
        if not named or named != self.networks:
            raise ValueError(f"networks are {self.networks}, measured are {named}")
        for network in named:
            _check_seeds(network, [s for s in self.scores if s.network == network])
        if {score.n for score in self.scores} != {self.pixels.n}:
            raise ValueError("the networks were measured on different numbers of images")
        self._check_embeddings()
        if self.summary != summarise(self.scores):
            raise ValueError("the summary is not that of the scores")

    def _check_embeddings(self) -> None:
        for found in self.embeddings:
            self.score(found.network, found.task, found.seed)
        tasks = {
            task: [(e.network, e.seed, e.labels) for e in self.embeddings if e.task == task]
            for task in TASKS
        }
        if not tasks["tra"] or tasks["tra"] != tasks["int"]:
            raise ValueError("the picture does not show TRA and INT on the same images")

    def score(self, network: str, task: Task, seed: int) -> FeatureScores:
        """Look up one network.

        Raises:
            ValueError: There is none.
        """
        for found in self.scores:
            if (found.network, found.task, found.seed) == (network, task, seed):
                return found
        raise ValueError(f"there is no {network}, task {task}, of seed {seed}")

    def comparison(self, network: str, measure: Measure) -> Comparison:
        """Look up one line of the summary.

        Raises:
            KeyError: There is none.
        """
        return pick(self.summary, network=network, measure=measure)


def summarise(scores: Sequence[FeatureScores]) -> tuple[Comparison, ...]:
    """Compare INT with TRA for each network and measure; both need one network or more."""
    networks = dict.fromkeys(score.network for score in scores)
    return tuple(
        _compare([s for s in scores if s.network == network], network, measure)
        for network in networks
        for measure in MEASURES
    )


def _compare(scores: Sequence[FeatureScores], network: str, measure: Measure) -> Comparison:
    values = {
        task: [float(getattr(score, measure)) for score in scores if score.task == task]
        for task in TASKS
    }
    tra, interval = Spread.of(values["tra"]), Spread.of(values["int"])
    return Comparison(
        network=network,
        measure=measure,
        tra=tra,
        interval=interval,
        difference=interval.mean - tra.mean,
        lowest=min(interval.values) - max(tra.values),
        highest=max(interval.values) - min(tra.values),
    )


def _check_seeds(network: str, scores: Sequence[FeatureScores]) -> None:
    seeds = [[score.seed for score in scores if score.task == task] for task in TASKS]
    if seeds[0] != sorted(set(seeds[0])) or seeds[0] != seeds[1]:
        raise ValueError(f"seeds of {network} are {seeds[0]} for TRA and {seeds[1]} for INT")


def _check_shares(values: Iterable[float], *, low: int) -> None:
    for value in values:
        if not low <= value <= 1:
            raise ValueError(f"{value} is not in [{low}, 1]")
