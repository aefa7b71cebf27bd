"""Design encodings: which differences make another device, and which do not. Loads no torch.

An encoding gives each class a closed interval on the number line; the network's one output is
decoded to the class whose interval holds it, or to None. Scaling all intervals, shifting them or
reversing the line gives the same device again, because a last linear layer absorbs it. The order
of the classes is another matter; zig-zag orders are those that have no neighbours in common. What
a difference is worth against an attacker is for `fleet audit transfer` to say.

    python examples/design_an_encoding.py --classes 10
"""

from __future__ import annotations

import argparse
from itertools import combinations

from fleet import IntervalEncoding
from fleet.encoding import equivalent
from fleet.encoding.orders import reverse, shared_adjacencies, zigzag_orders


def main() -> None:
    parser = argparse.ArgumentParser(description="Look at interval encodings.")
    parser.add_argument("--classes", type=int, default=10, help="number of classes, 4 or more")
    count: int = parser.parse_args().classes

    paper = IntervalEncoding(count, alpha=1, beta=3, s0=0)
    print(f"class 3 has the interval [{paper.lower(3):g}, {paper.upper(3):g}]")
    for output in (13.0, 15.0, 15.5, float("nan")):
        label, margin = paper.decode(output), paper.margin(output)
        print(f"  output {output:4}: {label}, margin {margin:+.3f}")

    orders = zigzag_orders(count)
    print("the same device as alpha 1, beta 3?")
    for change, other in {
        "scaled by 10": IntervalEncoding(count, alpha=10, beta=30),
        "shifted by 7": IntervalEncoding(count, alpha=1, beta=3, s0=7),
        "reversed": IntervalEncoding(count, alpha=1, beta=3, order=reverse(paper.slots)),
        "beta 9": IntervalEncoding(count, alpha=1, beta=9),
        "zig-zag order": IntervalEncoding(count, alpha=1, beta=3, order=orders[0]),
    }.items():
        print(f"  {change}: {'yes' if equivalent(paper, other) else 'no'}")

    print(f"{len(orders)} zig-zag orders, as classes along the line:")
    for order in orders:
        print(f"  {' '.join(map(str, IntervalEncoding(count, order=order).classes))}")
    most = max(shared_adjacencies(a, b) for a, b in combinations(orders, 2))
    print(f"neighbours that two of them share, at most: {most}")


if __name__ == "__main__":
    main()
