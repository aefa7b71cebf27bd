"""How a query audit asks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

from fleet.audit.core.members import Settings
from fleet.audit.query.result import QueryMethod
from fleet.errors import AuditError

METHODS: tuple[QueryMethod, ...] = get_args(QueryMethod)

LADDER = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)


@dataclass(frozen=True)
class QuerySettings(Settings):
    """How thoroughly to ask.

    Attributes:
        eps: Linf radii in pixel units, (0, 1], at least one 8-bit level each; kept ascending.
        queries: Queries on each image; extraction has its own budgets.
        methods: Which attackers.
        extraction: Queries in total on the attacker's own images, ascending, one surrogate each.
        held_out: Own images, beyond those asked about, on which fidelity is measured. The audit of
            a run fits both to its data (:meth:`fitted`).
        steps: Steps of the white-box attacks on surrogates, owned devices, and for comparison on
            the victim itself.
        batch_size: Images at once; changes the time and the memory, not the result.
        seed: Seed of images, squares, noise and surrogates.

    Raises:
        AuditError: A value is out of range.
    """

    eps: tuple[float, ...]
    queries: int = 300
    methods: tuple[QueryMethod, ...] = METHODS
    extraction: tuple[int, ...] = (100, 300)
    held_out: int = 500
    steps: int = 15
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        self.check("queries", "steps", "batch_size", "held_out")
        object.__setattr__(self, "extraction", tuple(sorted(set(self.extraction))))
        unknown = sorted(set(self.methods) - set(METHODS))
        if unknown or not self.methods:
            raise AuditError(
                f"query methods are {', '.join(unknown) or 'none'}",
                hint=f"one or more of {', '.join(METHODS)}",
            )
        if "extraction" in self.methods and not (self.extraction and self.extraction[0] > 0):
            raise AuditError(
                f"extraction budgets are {self.extraction}", hint="give one or more above 0"
            )

    @property
    def budgets(self) -> tuple[int, ...]:
        """Budgets of the curves: 1, 3, 10, 30 and so on, and the whole."""
        return (*(step for step in LADDER if step < self.queries), self.queries)

    def fitted(self, own_images: int, classes: int) -> tuple[QuerySettings, str]:
        """Fit the extraction to the images that an attacker has: a question a class at least.

        Args:
            own_images: Own images, for the questions and for measuring fidelity.
            classes: Classes among them.

        Returns:
            Settings that these images allow, and what was changed, in words; empty if nothing was.

        Raises:
            AuditError: Only extraction is asked for, and there is not an image more than classes.
        """
        if "extraction" not in self.methods:
            return self, ""
        few = f"{own_images} training images of {classes} classes"
        if own_images <= classes:
            others = tuple(method for method in self.methods if method != "extraction")
            if not others:
                raise AuditError(f"{few} are too few for extraction", hint="ask in another way")
            return replace(self, methods=others), f"no extraction: {few} are too few"
        most = max(classes, self.extraction[-1])
        held_out = max(own_images // 2, own_images - most)
        held_out = min(self.held_out, held_out, own_images - classes)
        budgets = {min(max(budget, classes), own_images - held_out) for budget in self.extraction}
        fitted = replace(self, extraction=tuple(sorted(budgets)), held_out=held_out)
        if fitted == self:
            return self, ""
        asked = ", ".join(map(str, fitted.extraction))
        return fitted, (
            f"extraction is fitted to {few}: {asked} queries, and fidelity on {held_out} images"
        )
