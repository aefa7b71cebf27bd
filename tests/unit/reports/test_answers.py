"""A product manager opens a report: what does one captured device cost me?"""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fleet.audit.certify.result import CertifyAudit, Proven
from fleet.audit.core.result import AuditedDevice, Cell, Check, Outcome
from fleet.reports import AuditReport, render_html
from fleet.reports.answers import answers, in_100
from fleet.reports.views import report_view


def check(identity, verdict="fail", subject=""):
    return Check(identity, "title", verdict, "finding", "rule", subject)


def printed(report, **how):
    console = Console(width=100, file=io.StringIO(), color_system=None, highlight=False)
    console.print(report_view(report, **how))
    return console.file.getvalue()


@pytest.fixture
def audited(make_audit):
    def make(**how):
        return AuditReport.of(make_audit(with_control=True, **how))

    return make


def test_one_device_none_and_noise_are_answered_in_words_first(audited):
    report = audited(eps=(0.1,))
    one, none, noise, promise = answers(report).answers
    assert one.question == "With one captured device"
    assert one.words.startswith("eps 0.1: fools another device on 26 of 100 images (95")
    assert one.words.endswith("; at worst 36 of 100 images (gate-south → sorter-1).")
    assert one.known
    assert one.rate == pytest.approx(0.26, abs=0.01)
    assert one.worst == pytest.approx(0.36, abs=0.01)
    assert "fools a device on 28 of 100 images" in none.words
    assert "fools a device on 3 of 100 images" in noise.words
    assert promise.words.startswith("Nothing: no certificate was computed")
    assert not promise.known
    text, page = printed(report), render_html(report)
    assert text.splitlines()[0].startswith("╭─ verdict")
    for answer in answers(report).answers:
        assert " ".join(answer.words.split()[:4]) in text
        assert page.index(answer.words) < page.index("<table")
    assert "`training.method: certified`" in page[: page.index("<table")]


@pytest.mark.parametrize(
    ("stays", "most", "share"), [(9657, 4, "3.5%"), (9700, 3, "3.0%"), (9999, 1, "0.1%")]
)
def test_a_guarantee_is_never_rounded_down(stays, most, share):
    audit = certified((90, 90))
    rows = (
        replace(p, n=12000, correct=10000, stays=stays, never_wrong=stays) for p in audit.proven
    )
    whole = answers(AuditReport.of(replace(audit, proven=tuple(rows))))
    (found,) = [a for a in whole.answers if a.question.startswith("Guaranteed")]
    assert f"no attack on any device changes more than {most} of 100 images" in found.words
    assert f"no device loses more than {share} of what it names rightly" in whole.brief


def test_devices_trained_for_a_certificate_are_not_told_to_train_for_one(make_audit):
    audit = make_audit(eps=(0.1,), with_control=True)
    for method, advised in (("certified", False), ("standard", True)):
        trainings = {name: {"method": method} for name in audit.fleet}
        told = replace(audit, provenance={**audit.provenance, "trainings": trainings})
        words = " ".join(answers(AuditReport.of(told)).next)
        assert ("`training.method: certified` and `training.eps: 0.1`" in words) == advised
        assert "`fleet audit certify`" in words


def test_a_masked_rate_is_never_an_answer(audited):
    report = audited(eps=(0.1,), found=(check("M1", subject="adaptive"), check("M9", "pass")))
    found = answers(report)
    one = found.answers[0]
    assert found.level == "fail"
    assert (one.rate, one.interval, one.worst, one.known) == (None, None, None, False)
    assert "not known. M1 failed, so the attack may have been blind" in one.words
    assert found.next[0].startswith("Do not ship on these figures")
    assert 'class="verdict fail"' in render_html(report)


def test_a_clean_bill_is_not_painted_green(audited):
    page = render_html(audited(found=(check("M1", "pass", "adaptive"),)))
    assert '<section id="verdict" class="verdict" ' in page


def test_the_papers_failures_are_one_line_and_the_rest_is_asked_for(audited):
    report = audited(eps=(0.1, 0.2))
    short, full = printed(report), printed(report, full=True)
    assert short.count("the paper's own attack is blind here: 2 checks: M1, M8") == 1
    assert short.count("adaptive protocol, eps") == 2
    assert "paper protocol, eps" not in short
    assert "[MASKED" not in short
    assert full.count("paper protocol, eps") == 2
    assert "M8 transfer is no" in " ".join(full.split())
    assert len(short.splitlines()) < 70
    page = render_html(report)
    head, folded = page.split("the paper&#39;s own attack is blind here: 2 checks: M1, M8")[:2]
    assert head.rstrip().endswith("<summary>Transfer:")
    assert "M1 gradient of the attack loss" in folded.partition("</details>")[0]
    assert "M1 gradient" not in head


def test_a_papers_failure_does_not_hide_an_adaptive_one(audited):
    report = audited(found=(check("M1", subject="paper"), check("M11", subject="")))
    assert answers(report).level == "fail"
    text = printed(report)
    assert "M11 title" in text
    assert "M1 title" not in text


def test_only_the_papers_attack_is_no_answer(audited):
    report = audited(protocols=("paper",))
    one = answers(report).answers[0]
    assert one.rate is None
    assert one.words.startswith("Not measured")
    assert answers(report).next[0] == (
        "Measure what one captured device gives: `fleet audit transfer`."
    )


def test_few_images_are_said_to_be_few_once(make_audit):
    """Said of every rate, it pushed the verdict of a phone's screen below its edge."""
    audit = make_audit(eps=(0.1,))
    cells_of_20 = tuple(
        replace(m, cells=tuple(replace(c, outcome=Outcome(20, 5, 1)) for c in m.cells))
        for m in audit.matrices
    )
    report = AuditReport.of(replace(audit, matrices=cells_of_20))
    verdict = answers(report)
    few = "Audit more test images: a rate here is of only 20, so a rough figure."
    assert verdict.next[0] == few
    assert str(verdict.to_dict()).count("rough") == 1


def certified(stays, verdict="pass", radii=(0.1,)):
    """Two devices and a control, each right on 100 of 120 images: ``stays`` of them are proven."""
    members = [
        AuditedDevice(name, "int", "nn", "ordinal", None, "0" * 64, 120, 100, 0, role)
        for name, role in zip("abc", ["device", "device", "control"], strict=True)
    ]
    return CertifyAudit(
        run="demo",
        created="",
        devices=tuple(members),
        eps=radii,
        checks=(check("K1", verdict),),
        settings={},
        provenance={},
        proven=tuple(
            Proven(d.name, eps, 120, 100, held, held)
            for d, held in zip(members, (*stays, 0), strict=True)
            for eps in radii
        ),
        pairs=(),
        reach=(),
        radii=(),
    )


def test_what_is_proven_bounds_a_masked_attack_at_its_own_eps(audited):
    masked = audited(eps=(0.2,), found=(check("M1", subject="adaptive"),)).audits["transfer"]
    found = answers(AuditReport.of(masked, certified((90, 80), radii=(0.1, 0.2, 0.3))))
    assert [a.eps for a in found.answers if a.question.startswith("Guar")] == [0.1, 0.2, 0.3]
    one = next(a for a in found.answers if a.question == "With one captured device")
    assert not one.known
    assert one.words.endswith("but none more than 20 of 100 images (guaranteed).")
    assert found.next[0].startswith("Rely on the guarantee alone")
    assert found.next[-1].startswith("Ship if the guaranteed share")
    elsewhere = answers(AuditReport.of(masked, certified((90, 80), radii=(0.1, 0.3))))
    one = next(a for a in elsewhere.answers if a.question == "With one captured device")
    assert one.words.endswith("a better one may fool many more."), "nothing is proven at 0.2"
    assert elsewhere.next[0].startswith("Do not ship on these figures")


@pytest.mark.parametrize(
    ("stays", "verdict", "words"),
    [
        ((90, 80), "pass", "rightly (b, the worst); the devices' mean is 15.0"),
        ((0, 0), "pass", "nothing: no answer is certified."),
        ((90, 80), "fail", "nothing, since a check of the certificates failed."),
    ],
)
def test_the_guarantee_is_what_was_proven(audited, stays, verdict, words):
    certify = certified(stays, verdict)
    whole = answers(AuditReport.of(audited().audits["transfer"], certify))
    (found,) = [a for a in whole.answers if a.question.startswith("Guaranteed")]
    assert whole.answers[0] is found, "what is guaranteed is read first"
    assert whole.to_dict()["answers"][0]["worst"] == found.worst
    assert found.question in printed(AuditReport.of(certify)).splitlines()[1]
    promised = found.known and found.rate < 1
    assert ("`training.method: certified`" in " ".join(whole.next)) != promised
    assert words in found.words
    assert found.known == (verdict == "pass")
    assert ("no device loses more than" in whole.brief) == promised


@pytest.mark.parametrize(
    ("rate", "words"),
    [(0.0, "0 of"), (0.001, "fewer than 1 of"), (0.999, "more than 99 of"), (1.0, "100 of")],
)
def test_only_nothing_reads_as_0_and_only_all_as_100(rate, words):
    assert in_100(rate) == f"{words} 100 images"


def twinned(audit, fallen, on_twin):
    """The audit with a twin of its first device: images of the first fool so many of 1000."""
    first = audit.devices[0]
    twin = replace(first, name="twin", weights_sha256="e" * 64, role="twin")
    devices = (*audit.devices, twin)

    def cell(surrogate, victim):
        evade = 980 if surrogate == victim else on_twin if victim == twin else fallen
        outcome = Outcome(1000, evade, 0)
        return Cell(surrogate.name, victim.name, outcome, outcome, outcome)

    matrices = tuple(
        replace(matrix, cells=tuple(cell(one, other) for one in devices for other in devices))
        for matrix in audit.matrices
    )
    noise = (
        *audit.noise,
        *(replace(audit.noise_floor(first.name, e), victim="twin") for e in audit.eps),
    )
    return replace(audit, devices=devices, matrices=matrices, noise=noise)


@pytest.mark.parametrize(
    ("fallen", "on_twin", "words"),
    [
        (190, 380, "19 of 100 images fewer are fooled"),
        (380, 190, "19 of 100 images more are fooled"),
        (190, 200, "no difference that these images can tell from luck"),
    ],
)
def test_what_an_encoding_bought_is_told_against_the_twin(make_audit, fallen, on_twin, words):
    audit = twinned(make_audit(eps=(0.1,), found=()), fallen, on_twin)
    report = AuditReport.of(audit)
    (found,) = [a for a in answers(report).answers if a.question.startswith("What a different")]
    assert f": {words} (" in found.words
    points = round((on_twin - fallen) / 10)
    assert f"({points} point{'' if points == 1 else 's'}, 95 %" in found.words
    assert found.rate == pytest.approx((on_twin - fallen) / 1000)
    low, high = found.interval
    assert low < found.rate < high
    assert high - low < 0.09
    assert found.words in render_html(report)
    order = [*reversed(range(5)), *range(5, 10)]
    rotated = replace(audit.devices[0], encoding={**audit.devices[0].encoding, "order": order})
    other = AuditReport.of(replace(audit, devices=(rotated, *audit.devices[1:])))
    assert not [a for a in answers(other).answers if a.question.startswith("What a different")]


def test_the_twin_counts_in_no_figure_of_the_fleet(make_audit):
    """It would be the worst pair here, and no attacker has it."""
    audit = twinned(make_audit(eps=(0.1,), found=()), 190, 900)
    one = answers(AuditReport.of(audit)).answers[0]
    assert (one.rate, one.worst) == pytest.approx((0.19, 0.19))
    assert max(reached.rate for reached in audit.reached()) == 0.19
    assert "1 twin" in render_html(AuditReport.of(audit))


def test_without_a_twin_or_with_a_masked_attack_nothing_is_said_of_encodings(make_audit):
    twin = twinned(make_audit(eps=(0.1,), found=(check("M1", subject="adaptive"),)), 190, 380)
    for audit in (make_audit(), twin):
        found = answers(AuditReport.of(audit)).answers
        assert not [a for a in found if a.question.startswith("What a different")]


def test_a_manager_reads_one_paragraph(make_audit):
    """Clean accuracy, the guarantee, the worst that was measured: each said, or said unknown."""
    audit = twinned(make_audit(eps=(0.1,), found=()), 190, 380)
    told = answers(AuditReport.of(audit)).brief
    assert told.startswith(f"The {len(audit.fleet)} devices of {audit.run} name 9")
    assert "Nothing is guaranteed of them." in told
    assert told.endswith("what is made on one device fools another on 19.0% of images at worst.")
    masked = make_audit(found=(check("M1", subject="adaptive"),))
    assert "not known" in answers(AuditReport.of(masked)).brief
