"""Checks and gates as test cases of continuous integration."""

from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

from fleet.audit.core.gates import Ruling
from fleet.audit.core.result import Check, Verdict
from fleet.audit.transfer.result import TransferAudit
from fleet.reports.junit import junit


def test_what_failed_fails_and_what_is_expected_is_skipped(
    make_audit: Callable[..., TransferAudit],
) -> None:
    def check(verdict: Verdict, subject: str) -> Check:
        return Check("M8", "rates", verdict, "<found> \x1b[2J & more", "rule", subject)

    checks = (
        check("fail", "adaptive"),
        check("fail", "paper"),
        check("warn", ""),
        check("pass", ""),
    )
    rulings = {"transfer": [Ruling("--max-transfer 0.2", ("too much",), ("note",))]}
    text = junit({"transfer": replace(make_audit(), checks=checks)}, rulings, {"query": "no"})
    root = ElementTree.fromstring(text)
    transfer, query = root
    inside = [[part.tag for part in case] for case in transfer]
    assert inside == [["failure"], ["skipped"], ["system-out"], [], ["failure", "system-out"]]
    assert {name: transfer.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "5", "failures": "2", "skipped": "1", "errors": "0",
    }  # fmt: skip
    assert (query.get("errors"), query[0][0].get("message")) == ("1", "no")
    assert "\x1b" not in text
    assert "<found>" in transfer[0][0].get("message", "")
