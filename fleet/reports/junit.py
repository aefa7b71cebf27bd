"""Checks and gates of audits as a JUnit report: test cases of continuous integration."""

from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree as Xml

from fleet.audit.core.gates import Ruling
from fleet.audit.core.kind import KINDS
from fleet.audit.core.result import AuditResult, Check
from fleet.reports.flags import blind_checks
from fleet.reports.wording import visible


def junit(
    audits: Mapping[str, AuditResult],
    rulings: Mapping[str, Sequence[Ruling]],
    errors: Mapping[str, str],
) -> str:
    """Write audits as one JUnit document: a suite an audit, a test case a check and a gate.

    A failed check or gate is a failure. What is expected, the paper's own attack being blind beside
    the adaptive one, is skipped; a warning passes and says what it found.

    Args:
        audits: By kind.
        rulings: What became of the gates, by kind.
        errors: Why other audits could not be made, by kind.
    """
    root = Xml.Element("testsuites", name="fleet audit")
    for kind in [*audits, *errors]:
        suite = Xml.SubElement(root, "testsuite", name=KINDS[kind].title)
        if kind in audits:
            suite.set("timestamp", audits[kind].created)
            suite.extend(_checks(kind, audits[kind]))
        suite.extend(_gate(kind, ruling) for ruling in rulings.get(kind, ()))
        if kind in errors:
            case = _case(kind, "audit")
            Xml.SubElement(case, "error", message=visible(errors[kind]))
            suite.append(case)
        for word, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(word, str(len(suite.findall(f"testcase/{tag}"))))
        suite.set("tests", str(len(suite)))
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _checks(kind: str, audit: AuditResult) -> Iterator[Xml.Element]:
    expected = blind_checks(audit)
    for check in audit.checks:
        name = " ".join(filter(None, (check.id, check.title, check.subject)))
        case = _case(kind, visible(name))
        if check.verdict == "warn":
            Xml.SubElement(case, "system-out").text = f"warning: {visible(check.finding)}"
        if check.verdict == "fail":
            case.append(_failed(check, expected=check in expected))
        yield case


def _failed(check: Check, *, expected: bool) -> Xml.Element:
    words = visible(check.finding)
    if expected:
        return Xml.Element("skipped", message=f"the paper's own attack is blind: {words}")
    failure = Xml.Element("failure", message=words)
    failure.text = f"rule: {visible(check.threshold)}"
    return failure


def _gate(kind: str, ruling: Ruling) -> Xml.Element:
    case = _case(kind, f"gate {ruling.gate}")
    if ruling.reasons:
        Xml.SubElement(case, "failure", message=visible("; ".join(ruling.reasons)))
    if ruling.notes:
        Xml.SubElement(case, "system-out").text = "\n".join(map(visible, ruling.notes))
    return case


def _case(kind: str, name: str) -> Xml.Element:
    return Xml.Element("testcase", classname=f"fleet.audit.{kind}", name=name)
