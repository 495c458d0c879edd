"""Keep calls away from nodes that cannot run them: a full disk, a wrong clock, other code, workers that crash.

On a node whose disk is full, workers may crash before they run anything. Such a node is always free, so Ray sends it
the next call, too. A call that failed because of a node runs on others; if it succeeds there, the node is blamed, and
after enough failures the command stops sending it calls. A node with other code gets none from the first refusal on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from .resources import Needs, Node, can_run
from .same_code import DifferentCodeError

log = logging.getLogger(__name__)

MAX_NODES_TRIED = 3
"""On how many nodes a call runs that says its node is faulty; if all say so, what they share is faulty."""
ENOUGH_BLAME = 2
"""How many calls must crash on a node and succeed elsewhere before it counts as faulty."""


@dataclass
class Blamed:
    """What a command knows of the nodes of its cluster, by their ids."""

    faulty: set[str] = field(default_factory=set)
    """Nodes that are not sent calls any longer."""
    blame: Counter[str] = field(default_factory=Counter)
    """How many calls failed on a node, most probably because of it."""


class NodeChoice:
    """Which nodes the calls of one stage may use.

    Args:
        blamed: what earlier stages found out; more is added. None: a machine of its own, no choice.
    """

    def __init__(self, blamed: Blamed | None) -> None:
        self._has_choice = blamed is not None
        self._faulty, self._blame = (blamed.faulty, blamed.blame) if blamed else (set[str](), Counter[str]())
        self._avoided: dict[int, frozenset[str]] = {}

    def avoided(self, call: int) -> frozenset[str]:
        """Ids of the nodes on which a call must not run."""
        return self._avoided.get(call, frozenset()).union(self._faulty)

    def usable(self, nodes: Iterable[Node]) -> list[Node]:
        """The nodes that are not known to be faulty."""
        return [node for node in nodes if node.id not in self._faulty]

    def failed(self, call: int, need: Needs, node: str, nodes: Sequence[Node]) -> bool:
        """Note that a call said its node is faulty; False if it has failed on too many or no other node can run it."""
        if not self._avoid(call, need, {node}, nodes) or len(self._avoided[call]) == MAX_NODES_TRIED:
            return False
        self._blame[node] += ENOUGH_BLAME
        return True

    def refused(self, error: DifferentCodeError, need: Needs, nodes: Sequence[Node], label: str) -> bool:
        """Note a node with other code, which gets no more calls; False if no other node can run the refused one."""
        others = [node for node in self.usable(nodes) if node.id != error.node]
        if not self._has_choice or not can_run(need, others):
            return False
        if error.node not in self._faulty:
            self._faulty.add(error.node)
            log.warning("%s: a node gets no calls, and others run them: %s", label, error)
        return True

    def crashed(self, call: int, need: Needs, crashes: Counter[str], nodes: Sequence[Node]) -> None:
        """Note that a call's worker crashed; the call moves to nodes without crashes in this stage, if any."""
        if self._avoid(call, need, crashes.keys(), nodes):
            self._blame.update(crashes.keys())

    def silent(self, silent: Collection[str], needs: Iterable[Needs], nodes: Sequence[Node]) -> bool:
        """Note nodes that run no tasks as faulty; False if they are known or the others can run none of the calls."""
        if not self._has_choice or self._faulty.issuperset(silent):
            return False
        others = [node for node in self.usable(nodes) if node.id not in silent]
        if not any(can_run(need, others) for need in needs):
            return False
        self._faulty.update(silent)
        return True

    def succeeded(self, call: int, label: str) -> None:
        """Note a success: nodes that the call avoided are faulty, if they are blamed enough."""
        faulty = {node for node in self._avoided.pop(call, ()) if self._blame[node] >= ENOUGH_BLAME}
        if faulty - self._faulty:
            self._faulty.update(faulty)
            log.warning("%s: node %s is faulty and gets no more calls", label, ", ".join(sorted(faulty)))

    def _avoid(self, call: int, need: Needs, bad: Collection[str], nodes: Sequence[Node]) -> bool:
        """Keep a call away from some nodes, unless no other node can run it."""
        avoided = self._avoided.get(call, frozenset()).union(bad)
        others = [node for node in self.usable(nodes) if node.id not in avoided]
        if not self._has_choice or not can_run(need, others):
            return False
        self._avoided[call] = avoided
        return True
