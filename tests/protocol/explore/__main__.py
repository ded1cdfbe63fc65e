"""Exhaust the small worlds and say how large they were: ``python -m tests.protocol.explore``.

With words, only the worlds whose name holds one of them; with ``--all``, the long ones too.
Exit code 0: every world was exhausted, and nothing was found.
"""

from __future__ import annotations

import argparse
import sys

from tests.protocol.explore.quiet import without_texts
from tests.protocol.explore.search import Found, explore
from tests.protocol.explore.worlds import WORLDS, SmallWorld


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.protocol.explore", description=__doc__)
    parser.add_argument("words", nargs="*", help="only worlds whose name holds one of these")
    parser.add_argument("--all", action="store_true", help="the long worlds too")
    parser.add_argument("--most", type=int, default=50_000_000, help="worlds to visit at most")
    chosen = parser.parse_args()
    worlds = [w for w in WORLDS if chosen.all or chosen.words or not w.long]
    if chosen.words:
        worlds = [w for w in worlds if any(word in w.name for word in chosen.words)]
    good = True
    for world in worlds:
        good = _run(world, chosen.most) and good
    return 0 if good else 1


def _run(world: SmallWorld, most: int) -> bool:
    with without_texts():
        space, start = world.start()
        found = explore(space, start, most=most, every=1_000_000)
    print(f"{world.name}: {_verdict(found)}", flush=True)
    if found.violation:
        print(f"  {found.violation.number}: {found.violation.text}")
        print("\n".join(f"  {step}" for step in found.path))
    return found.complete


def _verdict(found: Found) -> str:
    if found.violation:
        end = "VIOLATION"
    else:
        end = "exhausted, nothing found" if found.complete else "not exhausted"
    return f"{found.worlds:,} worlds, {found.steps:,} steps, {found.seconds:.0f} s: {end}"


if __name__ == "__main__":
    sys.exit(main())
