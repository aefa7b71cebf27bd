"""Cheap extra attacks on one device, for the checks that outcomes alone cannot answer.

``score_row`` calls :func:`probe_device` once for each device; the result goes into ``Row`` and from
there into ``Evidence.probes``.
"""

from __future__ import annotations

from typing import get_args

import torch

from fleet.attacks import CORRECT
from fleet.audit.core.binarization import binarization_test
from fleet.audit.core.evidence import Outcomes, Probes
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.readings import read_decodings, read_orderings
from fleet.audit.core.result import Protocol
from fleet.audit.core.sets import AdversarialSets
from fleet.audit.core.standing import find_standing, try_again

BINARIZED = 8
"""Images whose binarization test is run, at the middle one of the eps."""


def probe_device(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    sets: AdversarialSets,
    *,
    clean: Outcomes,
    attacked: Outcomes,
) -> Probes:
    """Look again at what the attacks on one device left standing.

    Args:
        member: The device; left exactly as it was.
        sample: The clean images.
        settings: Of the audit.
        sets: The device's own adversarial images.
        clean: Outcomes of the clean images on the device, (N,).
        attacked: Outcomes of ``sets`` on the device itself, (E, A, N).
    """
    retries = [
        retry
        for level, eps in enumerate(sets.eps)
        for protocol in get_args(Protocol)
        for retry in try_again(
            find_standing(
                member,
                sample,
                protocol,
                eps,
                clean=clean,
                attacked=attacked[level],
                attacks=sets.attacks,
            ),
            settings,
        )
    ]
    part = sample.part(torch.from_numpy(clean == CORRECT).nonzero().squeeze(1)[:BINARIZED])
    middle = sets.eps[(len(sets.eps) - 1) // 2]
    return Probes(
        retries=tuple(retries),
        orderings=tuple(read_orderings(member, sample, settings, sets, attacked)),
        decodings=tuple(
            read_decodings(member, sample, settings, sets, clean=clean, attacked=attacked)
        ),
        binarization=binarization_test(member, part, middle, settings),
    )
