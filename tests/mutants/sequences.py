"""Mistakes in elections and replication that a test notices and the simulator may not.

Most of them cost time or availability rather than data.
"""

from __future__ import annotations

from tests.mutants.mutant import tested

TESTED = (
    tested(
        2,
        "a new leader appends nothing",
        "leader.py",
        '        node.append(EntryKind.NOOP, b"")\n',
        "        pass\n",
        "core/test_paper_commitment.py",
    ),
    tested(
        5,
        "a term is not written together with its entries",
        "state.py",
        "if self._state_dirty else None\n",
        "if self._state_dirty and not entries else None\n",
        "core/test_durability.py",
    ),
    tested(
        8,
        "the random timeout is drawn at every tick",
        "election.py",
        "    now_ms = node.now_ms\n    if node.election_due_ms",
        "    now_ms = node.now_ms\n    node.reset_election_timer()\n    if node.election_due_ms",
        "core/test_timers.py",
    ),
    tested(
        10,
        "a leader that is told to campaign does",
        "election.py",
        "    if node.role is Role.FOLLOWER and node.promotable:\n",
        "    if node.promotable:\n",
        "core/test_transfer.py",
    ),
    tested(
        10,
        "who is no voter campaigns when told to",
        "election.py",
        "    if node.role is Role.FOLLOWER and node.promotable:\n",
        "    if node.role is Role.FOLLOWER:\n",
        "core/test_transfer.py",
    ),
    tested(
        11,
        "a node that was asleep campaigns at once",
        "election.py",
        "if late_ms >= node.config.heartbeat_ms and ",
        "if late_ms < 0 and ",
        "core/test_timers.py",
    ),
    tested(
        13,
        "a pre-vote is entered as a term",
        "election.py",
        "    granted = (\n        message.term > node.current_term\n",
        "    if message.term > node.current_term:\n"
        "        node.become_follower(message.term, None)\n"
        "    granted = (\n        message.term > node.current_term\n",
        "core/test_paper_terms.py",
    ),
    tested(
        13,
        "the refusal of a pre-vote does not carry the later term",
        "election.py",
        "    term = message.term if granted else node.current_term\n",
        "    term = message.term\n",
        "core/test_thesis.py",
    ),
    tested(
        14,
        "a leader of the past gets no answer",
        "follower.py",
        "        _refuse(node, message, 0, 0)\n        return\n",
        "        return\n",
        "core/test_paper_terms.py",
    ),
    tested(
        15,
        "voters that hear their leader refuse the election it asked for",
        "election.py",
        "        if not message.transfer and _hears_leader(",
        "        if _hears_leader(",
        "core/test_transfer.py",
    ),
    tested(
        16,
        "a pre-vote counts as contact with a leader",
        "election.py",
        "    term = message.term if granted else node.current_term\n",
        "    term = message.term if granted else node.current_term\n"
        "    node.reset_election_timer()\n",
        "core/test_thesis.py",
    ),
    tested(
        22,
        "what was compacted is taken for a conflict",
        "log.py",
        "            return True\n        if self._terms.term(index) == term:\n",
        "            return index == 0\n        if self._terms.term(index) == term:\n",
        "core/test_log.py",
    ),
    tested(
        23,
        "a leader goes back one entry at a time",
        "leader.py",
        "    next_index = min(agreed + 1, message.rejected_index)\n",
        "    next_index = max(agreed + 1, message.rejected_index)\n",
        "core/test_paper_replication.py",
    ),
    tested(
        25,
        "the bytes of a window are not released when it is given up",
        "progress.py",
        "        self._inflight.clear()\n        self._inflight_bytes = 0\n",
        "        self._inflight.clear()\n",
        "core/test_flow.py",
    ),
    tested(
        26,
        "a refusal of an earlier stream counts",
        "leader.py",
        "    if message.session != progress.session or not progress.refused(",
        "    if not progress.refused(",
        "core/test_flow.py",
    ),
    tested(
        26,
        "an acknowledgement of an earlier incarnation counts",
        "leader.py",
        "    if progress is None or message.session < progress.first_session:\n",
        "    if progress is None:\n",
        "core/test_flow.py",
    ),
    tested(
        27,
        "the value of a minority is taken for that of a majority",
        "quorum.py",
        "ordered[len(ordered) // 2]",
        "ordered[(len(ordered) - 1) // 2]",
        "core/test_quorum.py",
    ),
    tested(
        33,
        "a leader with a hung disk stays in office",
        "authority.py",
        " or _disk_stalled(node):\n",
        ":\n",
        "core/test_durability.py",
    ),
    tested(
        37,
        "a node that lost what it acknowledged goes on",
        "log.py",
        "        if index > self.last_index:\n            raise InvariantViolation(\n",
        "        if index < 0:\n            raise InvariantViolation(\n",
        "core/test_durability.py",
    ),
    tested(
        66,
        "proposals are taken while leadership is handed over",
        "leader.py",
        "    if leading.transfer is not None:\n        raise ProposalRefused",
        "    if leading.transfer is None:\n        pass\n    else:\n        pass\n    if False:\n"
        "        raise ProposalRefused",
        "core/test_transfer.py",
    ),
)
