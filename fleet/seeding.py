"""Seeds derived from names, never from the order in which things happen to run."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Derive a seed from a path of names, for example ``(seed, device, "epoch", 3)``.

    The same parts always give the same seed; parts that differ anywhere give an unrelated one,
    so results depend neither on the number of processes nor on which device comes first.

    Args:
        parts: Integers and strings; ``1`` and ``"1"`` are different parts.

    Returns:
        An integer in [0, 2**63), as ``torch.Generator.manual_seed`` takes it.
    """
    digest = hashlib.sha256()
    for part in parts:
        kind = b"i" if isinstance(part, int) else b"s"
        encoded = str(part).encode("utf-8")
        digest.update(kind + len(encoded).to_bytes(8, "big") + encoded)
    return int.from_bytes(digest.digest()[:8], "big") >> 1
