"""What is wrong with a cluster is said in one line with how to mend it, without any cluster."""

from __future__ import annotations

import platform
import sys

import pytest

from fleet.errors import BackendError
from fleet.execution import nodes
from fleet.execution.nodes import Node, connect, versions_here


def node(python: str = platform.python_version(), **versions: str | None) -> Node:
    return Node("edge (10.0.0.2)", python, versions_here() | versions, {"CPU": 2.0})


def test_a_node_like_this_machine_fits() -> None:
    assert node().faults(versions_here()) == []
    nodes._require_fit([node()])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (node(fleet=None, code=None), "fleet is not installed there"),
        (node(torch="1.0"), "torch is 1.0, here"),
        (node(numpy=None), "numpy is absent, here"),
        (node(code="0" * 12), "code is 000000000000, here"),
        (node("3.1.4"), f"Python 3.1.4, here {platform.python_version()}"),
    ],
)
def test_a_node_that_would_end_with_other_bits_is_refused_by_name(other: Node, told: str) -> None:
    with pytest.raises(BackendError, match="would not do what this machine does") as error:
        nodes._require_fit([node(), other])
    assert f"edge (10.0.0.2): {told}" in error.value.message
    assert "the same versions everywhere" in str(error.value.hint)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(nodes, "package_version", lambda _: None)
    with pytest.raises(BackendError, match="not installed") as error, connect("auto", {}):
        pass
    assert "interval-fleet[ray]" in str(error.value.hint)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere", "127.0.0.1:999999"])
def test_an_address_that_does_not_answer_is_named(address: str) -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install interval-fleet[ray]")
    with pytest.raises(BackendError, match=f"answers at {address}") as error, connect(address, {}):
        pass
    assert "ray start --head" in str(error.value.hint)
