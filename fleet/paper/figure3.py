"""The paper's Figure 3: train the family, audit its transfer, and boil the audit down.

One run of ``fleet/paper/profiles/figure3-*.yaml`` is audited: encodings around the paper's alpha 4
and beta 16, each with two seeds or more. Seeds of weights and of batches come from the seed *and
the device's name*, so no two networks share them and all are exchangeable.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from fleet.audit.core.members import TransferSettings
from fleet.audit.core.permutation import DRAWS, MOST_ARRANGEMENTS
from fleet.audit.core.result import AuditedDevice, Protocol
from fleet.audit.transfer.audit import audit_run_transfer
from fleet.audit.transfer.result import TransferAudit
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.paper import figure3_result as result
from fleet.paper import figure3_tests as tests
from fleet.paper.figure3_tests import Transfer
from fleet.paper.workspace import MatrixExperiment, Workspace

PROTOCOLS: tuple[Protocol, ...] = ("adaptive", "paper")


def reproduce_figure3(experiment: MatrixExperiment, workspace: Workspace) -> result.Figure3:
    """Attack each network of the family, and try its images on all the others.

    The audit is kept in the run too, for ``fleet report``.

    Args:
        experiment: On which images, from which profile.
        workspace: Where everything is kept.

    Raises:
        FleetError: Images are missing, or a network cannot be trained or attacked.
    """
    scale = experiment.quick() if workspace.quick else experiment
    _, run = workspace.trained(scale.profile, own_data=scale.own_data)
    settings = TransferSettings(
        eps=scale.eps, steps=scale.steps, restarts=scale.restarts, batch_size=scale.batch_size
    )
    with workspace.stage(f"audit {scale.profile}", 1) as executor:
        audit = audit_run_transfer(run, settings, images=scale.images, executor=executor)
    audit.save(run.audit_file("transfer"))
    same_data = scale.same_data and not workspace.quick
    return summarise(audit, title=scale.title, same_data=same_data)


def summarise(audit: TransferAudit, *, title: str, same_data: bool = True) -> result.Figure3:
    """Make Figure 3 of a transfer audit.

    Args:
        audit: Of interval devices that differ in alpha, beta and seed alone.
        title: What was run on what.
        same_data: Whether these are images of the paper.

    Raises:
        AuditError: The devices differ in more, or none decodes an image.
    """
    networks = read_networks(audit)
    names = [network.name for network in networks]
    present = {matrix.protocol for matrix in audit.matrices}
    transfers = [
        read_transfer(audit, names, protocol, eps)
        for eps in audit.eps
        for protocol in PROTOCOLS
        if protocol in present
    ]
    encodings = [network.lengths for network in networks]
    relations = tests.relate(encodings)
    return result.Figure3(
        title=title,
        run=audit.run,
        created=audit.created,
        same_data=same_data,
        images=networks[0].images,
        eps=audit.eps,
        networks=networks,
        sweeps=tuple(s for t in transfers for s in _sweeps(audit, networks, t)),
        trends=tuple(found for t in transfers for found in tests.trends(encodings, t)),
        groups=tuple(g for t in transfers for g in tests.groups(t, relations)),
        contrasts=tuple(tests.contrasts(encodings, relations, transfers)),
        asymmetries=tuple(a for t in transfers for a in tests.asymmetries(t, relations)),
        checks=audit.checks,
        settings={
            "audit": audit.settings,
            "unit": "network",
            "left_out": [device.name for device in audit.devices if device.name not in names],
            "all_arrangements_up_to": MOST_ARRANGEMENTS,
            "random_arrangements": DRAWS,
            "asymmetry_simulations": tests.SIMULATIONS,
        },
        provenance=audit.provenance,
    )


def read_networks(audit: TransferAudit) -> tuple[result.Network, ...]:
    """The networks that decode an image, controls left out.

    Raises:
        AuditError: A device has no encoding, an alpha or beta for each class, or another order
            of classes than the first, which would be a second thing that varies; or there is no
            device left.
    """
    found = [_read(device) for device in audit.devices if device.role == "device"]
    if len({classes for _, classes in found}) > 1:
        raise AuditError(
            f"run {audit.run} varies the order of classes, not alpha and beta alone",
            hint="give all devices one order, as fleet/paper/profiles/figure3-mnist.yaml does",
        )
    alive = tuple(network for network, _ in found if network.correct)
    if not alive:
        raise AuditError(
            f"no device of run {audit.run} decodes a single image correctly",
            hint="train for longer, or audit more images",
        )
    return alive


def read_transfer(
    audit: TransferAudit, names: Sequence[str], protocol: Protocol, eps: float
) -> Transfer:
    """Gather one matrix: the paper's PGD, or the adaptive attacks' worst case.

    Figure 3 of the paper shows PGD alone, so FGSM stays out of the paper's protocol.
    """
    attacks = {m.attack for m in audit.matrices if m.protocol == protocol}
    attack = "pgd" if protocol == "paper" and "pgd" in attacks else "worst"
    cells = audit.matrix(protocol, eps, attack).cells
    outcomes = {(cell.surrogate, cell.victim): cell.outcome for cell in cells}
    grid = [[outcomes[surrogate, victim] for victim in names] for surrogate in names]
    counts = np.array([[(o.n, o.flip, o.evade) for o in row] for row in grid], dtype=np.int64)
    trials, flips, evades = np.moveaxis(counts, -1, 0)
    return Transfer(protocol, attack, eps, trials, flips / trials, evades / trials)


def _read(device: AuditedDevice) -> tuple[result.Network, tuple[int, ...]]:
    """A network, and the order of its classes."""
    encoding = IntervalEncoding.from_dict(device.encoding) if device.encoding else None
    if encoding is None or isinstance(encoding.alpha, tuple) or isinstance(encoding.beta, tuple):
        raise AuditError(
            f"device {device.name} has no single alpha and beta to compare",
            hint="audit interval devices with a disclosed encoding of one alpha and one beta",
        )
    lengths = result.Lengths(encoding.alpha, encoding.beta)
    network = result.Network(device.name, lengths, device.images, device.correct, device.rejected)
    return network, encoding.classes


def _sweeps(
    audit: TransferAudit, networks: Sequence[result.Network], transfer: Transfer
) -> Iterator[result.Sweep]:
    fixings: tuple[tuple[result.Varied, float], ...] = (
        ("beta", tests.BETA),
        ("alpha", tests.ALPHA),
    )
    for fixed, value in fixings:
        places: dict[result.Lengths, list[int]] = {}
        for k, network in enumerate(networks):
            if getattr(network.lengths, fixed) == value:
                places.setdefault(network.lengths, []).append(k)
        order = sorted(places, key=lambda lengths: (lengths.alpha, lengths.beta))
        cells = [
            result.SweepCell(
                row,
                column,
                transfer.pairs([(i, j) for i in places[row] for j in places[column] if i != j]),
            )
            for row in order
            for column in order
        ]
        if order:
            levels = [_level(audit, networks, transfer, places[lengths]) for lengths in order]
            place = (fixed, value, transfer.protocol, transfer.attack, transfer.eps)
            yield result.Sweep(*place, tuple(levels), tuple(cells))


def _level(
    audit: TransferAudit,
    networks: Sequence[result.Network],
    transfer: Transfer,
    places: Sequence[int],
) -> result.Level:
    found = [networks[place] for place in places]
    noise = [audit.noise_floor(network.name, transfer.eps).outcome for network in found]
    return result.Level(
        found[0].lengths,
        result.Rates.over([(transfer.flip[k, k], transfer.evade[k, k]) for k in places]),
        result.Rates.over([(o.flip / o.n, o.evade / o.n) for o in noise]),
        result.Range.of([network.accuracy for network in found]),
    )
