"""Train a family: one independent job for each device."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.assembly import load_images, read_through
from fleet.data import ImageData
from fleet.data.load import check_training
from fleet.errors import FleetError, warn
from fleet.execution import LOCAL, Executor, Job, JobOutcome
from fleet.files import locked, make_directory, write_json
from fleet.notebook import data_frame, html_table
from fleet.profiles import load_profile
from fleet.profiles.planner import weak_diversity
from fleet.profiles.spec import FamilySpec, read_family
from fleet.provenance import environment
from fleet.rundata import check_data
from fleet.rundir import RunDirectory, record_start
from fleet.training.cost import core_seconds
from fleet.training.cross import check_pools
from fleet.training.fit import FitJob, fit_device
from fleet.training.growth import compare_run
from fleet.training.plan import Resume, TrainingPlan, check_growth, device_state, plan_training


@dataclass(frozen=True)
class FamilyResult:
    """How a training ended.

    Attributes:
        run: Where everything was written.
        results: Content of ``result.json`` for each device that finished in this call.
        errors: Why the others did not.
        traces: Traceback text of unexpected failures.
    """

    run: RunDirectory
    results: dict[str, dict[str, Any]]
    errors: dict[str, FleetError]
    traces: dict[str, str]

    def to_dataframe(self) -> Any:
        """One row for each device that finished, as a ``pandas.DataFrame``.

        Raises:
            BackendError: pandas is not installed.
        """
        return data_frame(self._rows())

    def _repr_html_(self) -> str:
        """Draw a table in a notebook."""
        rows = self._rows()
        heads = list(rows[0]) if rows else ["device"]
        failed = [(name, error.message) for name, error in self.errors.items()]
        table = html_table(f"Trained: {self.run.root}", heads, [[*row.values()] for row in rows])
        return table + (html_table("Failed", ("device", "why"), failed) if failed else "")

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "device": name,
                "validation_accuracy": _share(result["validation"], "correct"),
                "test_accuracy": _share(result["test"], "correct"),
                "test_none": _share(result["test"], "rejected"),
                "epochs": result["epochs"],
                "seconds": result["seconds"],
            }
            for name, result in self.results.items()
        ]


def _share(counts: dict[str, int], of: str) -> float | None:
    return counts[of] / counts["n"] if counts["n"] else None


def train_family(
    profile: FamilySpec | Path | str,
    *,
    parent: Path | str = "runs",
    run: Path | str | None = None,
    resume: Resume = "auto",
    executor: Executor = LOCAL,
    check: bool = True,
) -> FamilyResult:
    """Train every device of a profile; see :func:`plan_training` for the first arguments.

    What makes the devices alike is a :class:`~fleet.errors.FleetWarning`.

    Args:
        profile: A profile (YAML), or what :func:`fleet.load_profile` made of one.
        parent: Where runs are kept.
        run: A run directory of your choice.
        resume: ``auto``, ``never`` or ``must``.
        executor: Where the devices are trained. The weights do not depend on it.
        check: Raise if a device fails, once the others are done. Otherwise it stands in
            :attr:`FamilyResult.errors`.

    Raises:
        FleetError: Nothing could be trained at all, or a device failed.
    """
    spec = profile if isinstance(profile, FamilySpec) else load_profile(profile)
    chosen = None if run is None else Path(run)
    plan = plan_training(spec, parent=Path(parent), run=chosen, resume=resume)
    for text in weak_diversity(plan.spec) if plan.pending else ():
        warn(f"weak diversity: {text}")
    result = execute_plan(plan, executor)
    if check:
        for error in result.errors.values():
            raise error
    return result


def execute_plan(plan: TrainingPlan, executor: Executor = LOCAL) -> FamilyResult:
    """Carry out a plan; see :func:`train_family`."""
    with executor.accelerated(plan.spec.accelerator):
        return _carry_out(plan, executor)


def _carry_out(plan: TrainingPlan, executor: Executor) -> FamilyResult:
    images = load_images(plan.spec.data)  # absent or damaged data stops here, before any file
    if plan.resumed:
        check_data(plan.run, images.record(), plan.spec.data.root, tests=_tested(plan))
    if plan.pending:
        check_pools(plan.pending, plan.spec.data)
        check_training(images.train.labels.numpy(), images.class_names)
        read_through(images)
    # Weights hold the positions of the intervals, so a family with drawn encodings is private.
    private = any(device.drawn for device in plan.spec.devices)
    make_directory(plan.run.root, mode=0o700 if private else 0o777)
    if private:
        plan.run.root.chmod(0o700)  # the first drawn encoding may have joined a public run
        _keep_secret(plan)
    with locked(plan.run.root, "training"):
        _write_headers(plan, images)
        digest, data = plan.spec.digest(), plan.spec.data
        jobs = [
            Job(
                device.name,
                fit_device,
                (FitJob(plan.run, device, data, digest),),
                plan.run,
                core_seconds(device, len(images.train), data.image_size),
            )
            for device in plan.pending
        ]
        outcomes = executor.run(jobs)
    return _collect(plan.run, outcomes)


def _keep_secret(plan: TrainingPlan) -> None:
    """Write a new family secret, once nothing but the training itself can fail."""
    new = plan.spec.new_secret
    try:
        written = new is not None and new.keep()
    except FleetError:
        with suppress(OSError):
            plan.run.root.rmdir()  # unless it holds a run
        raise
    if new is not None and written:
        warn(f"wrote {new.path}: back it up; without it no encoding can be drawn again")


def _tested(plan: TrainingPlan) -> bool:
    """Whether a device has figures on the run's test images, which then must stay as they are."""
    states = [device_state(plan.run, device.name) for device in plan.spec.trained]
    return "finished" in states


def _write_headers(plan: TrainingPlan, images: ImageData) -> None:
    """The profile goes last: a directory is a run once it holds one."""
    write_json(plan.run.environment, environment())
    write_json(plan.run.dataset, images.record())
    if not plan.resumed:
        record_start(plan.run)
    spec = plan.spec
    if plan.resumed:  # another training may have extended the run since this one was planned
        growth = compare_run(plan.run, spec)
        check_growth(plan.run, growth)
        spec = growth.spec
    if not plan.resumed or read_family(plan.run) != spec:
        write_json(plan.run.profile, spec.to_dict())


def _collect(run: RunDirectory, outcomes: dict[str, JobOutcome]) -> FamilyResult:
    failed = {name: o.error for name, o in outcomes.items() if o.error is not None}
    return FamilyResult(
        run=run,
        results={name: o.value for name, o in outcomes.items() if o.error is None},
        errors=failed,
        traces={name: outcomes[name].trace for name in failed if outcomes[name].trace},
    )
