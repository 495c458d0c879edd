"""Keep calls away from nodes that cannot run them: a full disk, a wrong clock, workers that crash at their start.

On a node whose disk is full, workers may crash before they run anything. Such a node is always free, so Ray sends it
the next call, too. A call that failed because of a node runs on others; if it succeeds there, the node is blamed, and
after enough blame the command sends it no more calls.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from .resources import Needs, Node

log = logging.getLogger(__name__)

MAX_NODES_TRIED = 3
"""On how many nodes a call runs that says its node is faulty; if all say so, what they share is faulty."""
ENOUGH_BLAME = 2
"""How many calls must crash on a node and succeed elsewhere before it counts as faulty."""


class NodeChoice:
    """Which nodes the calls of one stage may use.

    Args:
        faulty: ids of nodes that earlier stages found faulty; ids are added. None: a machine of its own, no choice.
    """

    def __init__(self, faulty: set[str] | None) -> None:
        self._faulty = faulty
        self._avoided: dict[int, frozenset[str]] = {}
        self._blame: Counter[str] = Counter()

    def avoided(self, call: int) -> frozenset[str]:
        """Ids of the nodes on which a call must not run."""
        return self._avoided.get(call, frozenset()).union(self._faulty or ())

    def usable(self, nodes: Iterable[Node]) -> list[Node]:
        """The nodes that are not known to be faulty."""
        return [node for node in nodes if node.id not in (self._faulty or ())]

    def failed(self, call: int, need: Needs, node: str, nodes: Sequence[Node]) -> bool:
        """Note that a call said its node is faulty; False if it has failed on too many or no other node can run it."""
        if not self._avoid(call, need, node, nodes) or len(self._avoided[call]) == MAX_NODES_TRIED:
            return False
        self._blame[node] += ENOUGH_BLAME
        return True

    def crashed(self, call: int, need: Needs, crashes: Mapping[str, int], nodes: Sequence[Node]) -> None:
        """Note that a call's worker crashed, most probably on a node that has had most of the stage's crashes."""
        node, most = max(crashes.items(), key=lambda item: item[1], default=("", 0))
        if 2 * most > sum(crashes.values()) and self._avoid(call, need, node, nodes):
            self._blame[node] += 1

    def silent(self, silent: Collection[str], needs: Iterable[Needs], nodes: Sequence[Node]) -> bool:
        """Note nodes that run no tasks as faulty; False if they are known or the others can run none of the calls."""
        if self._faulty is None or self._faulty.issuperset(silent):
            return False
        others = [node for node in self.usable(nodes) if node.id not in silent]
        if not any(node.capacity(need) for need in needs for node in others):
            return False
        self._faulty.update(silent)
        return True

    def succeeded(self, call: int, label: str) -> None:
        """Note a success: nodes that the call avoided are faulty, if they are blamed enough."""
        faulty = {node for node in self._avoided.pop(call, ()) if self._blame[node] >= ENOUGH_BLAME}
        if self._faulty is not None and faulty - self._faulty:
            self._faulty |= faulty
            log.warning("%s: node %s is faulty and gets no more calls", label, ", ".join(sorted(faulty)))

    def _avoid(self, call: int, need: Needs, node: str, nodes: Sequence[Node]) -> bool:
        """Keep a call away from a node, unless no other node can run it."""
        avoided = self._avoided.get(call, frozenset()) | {node}
        if self._faulty is None or not any(
            other.capacity(need) for other in self.usable(nodes) if other.id not in avoided
        ):
            return False
        self._avoided[call] = avoided
        return True
