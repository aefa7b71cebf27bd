"""Adversarial images in an audit and in its page."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fleet.audit.core.evidence import AttackName, GradientHealth
from fleet.audit.core.exhibits import MOST, MOST_BYTES, Tried, Turn, count_turns, few
from fleet.audit.core.members import Sample
from fleet.audit.core.pictures import exhibit
from fleet.audit.core.sets import AdversarialSets
from fleet.audit.transfer.result import TransferAudit
from fleet.errors import AuditError
from fleet.reports import AuditReport, render_html
from fleet.reports.exhibits import class_name, turns

LABELS = torch.tensor([2, 0, 0, 1])
NOTHING = [[2, 0, 0, 1]]


def sets(shape=(1, 4, 4), gap=3, eps=(0.1, 0.2)):
    """Four images of 100, of which the attack to send adds ``gap`` to the first pixel."""
    clean = torch.full((4, *shape), 100, dtype=torch.uint8)
    images = clean.expand(len(eps), 3, *clean.shape).clone()
    images[:, 1, :, :, 0, 0] += gap
    names = (AttackName("paper", "pgd"), AttackName("adaptive", "segment"))
    sample = Sample(clean, LABELS, torch.tensor([7, 8, 9, 12]))
    health = GradientHealth("a", 4, 0, 0, 0, 0)
    return AdversarialSets(
        "a", "linf", eps, (*names, AttackName("adaptive", "up")), {}, images, sample, health
    )


def tried(*named, correct=(True, True, True, True)):
    return Tried(np.array(correct), np.array(named, dtype=np.int16))


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))


def test_the_first_images_of_different_classes_that_fool_are_chosen():
    found = exhibit(sets(), tried([2, 1, 1, 0], [0, 0, 0, 0]))
    assert [(e.index, e.true, e.decoded, e.eps) for e in found] == [
        (8, 0, {"a": 1}, 0.1),
        (12, 1, {"a": 0}, 0.1),
    ]
    wrong_anyway = tried([2, 1, 1, 1], NOTHING[0], correct=(True, False, True, True))
    assert [e.index for e in exhibit(sets(), wrong_anyway)] == [9]


def test_the_smallest_eps_at_which_one_is_fooled_counts_and_none_is_no_class():
    (found,) = exhibit(sets(), tried(*NOTHING, [2, 0, 0, -1]))
    assert (found.eps, found.decoded) == (0.2, {"a": None})
    assert exhibit(sets(), tried(*NOTHING, *NOTHING)) == ()


def test_pictures_are_the_images_and_their_difference():
    found = exhibit(sets(), tried([0, 0, 0, 1], *NOTHING))[0]
    clean, difference, adversarial = map(pixels, found.pictures)
    assert (clean == 100).all()
    assert adversarial[0, 0] == 103
    assert (difference[0, 0], difference[1, 1]) == (255, 128)
    assert found.gain == round(127 / 3, 1)


def test_large_colour_images_become_small():
    found = exhibit(sets((3, 300, 200)), tried([0, 0, 0, 1], *NOTHING))[0]
    assert [pixels(picture).shape for picture in found.pictures] == [(60, 40, 3)] * 3


def test_an_audit_holds_few_and_the_first_of_each_device_before_the_second():
    first, second = exhibit(sets(), tried([2, 1, 1, 0], *NOTHING))
    shown = [(replace(first, surrogate=name), replace(second, surrogate=name)) for name in "abc"]
    assert [(e.surrogate, e.index) for e in few(shown)][:4] == [
        ("a", 8), ("b", 8), ("c", 8), ("a", 12),
    ]  # fmt: skip
    assert len(few([(first, second)] * 20)) == MOST
    with pytest.raises(ValueError, match="picture 8"):
        replace(first, clean="A" * MOST_BYTES)
    noisy = sets((3, 64, 64))
    for images in (noisy.images, noisy.sample.images):
        images[:] = torch.randint(0, 256, images.shape, dtype=torch.uint8)
    heavy = exhibit(noisy, tried([2, 1, 1, 0], *NOTHING))[0]
    kept = few([[heavy]] * MOST)
    assert 0 < len(kept) < MOST
    assert sum(map(len, [p for e in kept for p in e.pictures])) <= MOST_BYTES


def test_turns_count_images_that_are_named_rightly_without_the_attack():
    labels = LABELS.to(torch.int16).numpy()
    shown = [tried([0, 1, 1, 1]), tried([0, 1, -1, 1], correct=(False, True, True, True))]
    assert count_turns(shown, labels, (0.1,)) == (
        Turn(0.1, 0, 1, 3, 4),
        Turn(0.1, 0, None, 1, 4),
        Turn(0.1, 2, 0, 1, 1),
    )
    assert count_turns([tried(*NOTHING)], labels, (0.1,)) == ()


@pytest.fixture
def pictured(make_audit):
    audit = make_audit(["a", "b"], eps=(0.1,))
    (found, _) = exhibit(sets(), tried([2, 1, 1, 0], *NOTHING))
    names = {"dataset": {"class_names": ["cat", "<b>dog"]}}
    return replace(
        audit,
        exhibits=(replace(found, decoded={"a": 1, "b": 0}),),
        turns=(Turn(0.1, 0, 1, 3, 4), Turn(0.1, 2, None, 1, 4)),
        provenance=names,
    )


def test_the_page_shows_image_difference_and_adversarial_image(pictured):
    text = render_html(AuditReport.of(pictured))
    for picture in pictured.exhibits[0].pictures:
        assert f'src="data:image/png;base64,{picture}"' in text
    assert "<strong>cat → &lt;b&gt;dog</strong> image 8, made on a" in text
    assert "Sent to others: b: right." in text
    assert "difference × 42.3" in text
    assert '<a href="#pictures">' in text
    assert 'id="pictures"' not in render_html(AuditReport.of(replace(pictured, exhibits=())))


def test_the_table_names_classes_where_the_audit_knows_their_names(pictured):
    _, _, rows = turns(pictured, "here").html()
    assert [row[:2] for row in rows] == [["cat", "<b>dog"], ["class 2", "none"]]
    assert class_name(replace(pictured, provenance={"dataset": ["?"]}), 0) == "class 0"


def test_they_are_kept_in_the_audit_and_older_audits_have_none(pictured):
    data = pictured.to_dict()
    assert TransferAudit.from_dict(data) == pictured
    for key in ("exhibits", "turns", "seconds"):
        del data[key]
    assert TransferAudit.from_dict(data).exhibits == ()


@pytest.mark.parametrize("picture", ['"><script>', "PHN2Zz4=", ""])
def test_what_is_no_picture_is_refused(pictured, picture):
    data = pictured.to_dict()
    data["exhibits"][0]["clean"] = picture
    with pytest.raises(AuditError, match="picture 8"):
        TransferAudit.from_dict(data)
