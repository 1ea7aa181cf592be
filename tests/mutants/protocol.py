"""Mistakes in elections, replication and durability, most of which the simulator notices."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, tested

TESTED = (
    tested(
        0,
        "one message leads to the last of all terms",
        "protocol/election.py",
        "    if term <= node.current_term + TERM_STEP_MAX:\n",
        "    if term:\n",
        "core/test_paper_terms.py",
    ),
    tested(
        0,
        "one heartbeat leads to the end of cluster time",
        "state/clock.py",
        "        self.observe(min(value_ms, self.read(now_ms) + STEP_MAX_MS), now_ms)\n",
        "        self.observe(value_ms, now_ms)\n",
        "core/test_paper_terms.py",
    ),
    tested(
        0,
        "a membership that cannot be read leaves its term behind",
        "state/log.py",
        "        if entry.kind is EntryKind.MEMBERSHIP:\n"
        "            # First of all: it is the one part that can fail, and then nothing may have changed.\n"
        "            self._memberships.append(entry)\n"
        "        if entry.term != self._terms.last_term:\n"
        "            self._terms.begin(entry.index, entry.term)\n",
        "        if entry.term != self._terms.last_term:\n"
        "            self._terms.begin(entry.index, entry.term)\n"
        "        if entry.kind is EntryKind.MEMBERSHIP:\n"
        "            self._memberships.append(entry)\n",
        "core/test_log.py",
    ),
    tested(
        0,
        "a membership comes in unread",
        "codec.py",
        "            if kind == EntryKind.MEMBERSHIP:\n",
        "            if kind == EntryKind.NOOP:\n",
        "core/test_codec.py",
    ),
)
SIMULATED = (
    Mutant(
        1,
        "entries of earlier terms are committed by counting",
        (("protocol/leader.py", " and node.log.term(index) == node.current_term:", ":"),),
    ),
    Mutant(
        4,
        "the vote is not written",
        (
            (
                "state/node.py",
                "HardState(self.current_term, self.voted_for)",
                "HardState(self.current_term, None)",
            ),
        ),
    ),
    Mutant(
        4,
        "votes leave before they are durable",
        (
            (
                "state/outbox.py",
                "after_all if tells_of_log else after_state",
                "after_all if tells_of_log else 0",
            ),
        ),
    ),
    Mutant(
        31,
        "acknowledgements leave before the entries are durable",
        (("state/outbox.py", "after_all if tells_of_log else after_state", "after_state"),),
    ),
    Mutant(
        7,
        "a leader counts itself before its write",
        (("protocol/leader.py", "return node.log.stable_index", "return node.log.last_index"),),
    ),
    Mutant(
        31,
        "applied before durable",
        (("state/applying.py", "min(log.commit_index, log.stable_index)", "log.commit_index"),),
    ),
    Mutant(
        19,
        "a shorter message cuts the log",
        (
            (
                "state/log.py",
                "        for entry in entries[known:]:\n",
                "        if 0 < known == len(entries) and self.last_index > entries[-1].index:\n"
                "            self._truncate(entries[-1].index + 1)\n"
                "        for entry in entries[known:]:\n",
            ),
        ),
    ),
    Mutant(
        0,
        "a conflict is not cut off",
        (
            (
                "state/log.py",
                "            self._truncate(entries[known].index)\n",
                "            return\n",
            ),
        ),
    ),
    Mutant(
        20,
        "a follower commits beyond the message",
        (
            (
                "protocol/follower.py",
                "min(message.leader_commit, covered)",
                "min(message.leader_commit, log.last_index)",
            ),
        ),
    ),
    Mutant(
        20,
        "a follower acknowledges beyond the message",
        (("protocol/follower.py", "max(covered, log.commit_index))", "log.last_index)"),),
    ),
    Mutant(
        21,
        "heartbeats carry the commit index unclamped",
        (
            (
                "protocol/authority.py",
                "min(node.log.commit_index, progress.match_index)",
                "node.log.commit_index",
            ),
        ),
    ),
    Mutant(
        3,
        "the longer log wins, whatever its term",
        (
            (
                "protocol/election.py",
                "    return theirs >= (node.log.last_term, node.log.last_index)",
                "    return theirs[1] >= node.log.last_index",
            ),
        ),
    ),
    Mutant(
        3,
        "anybody may be voted for, however short its log",
        (
            (
                "protocol/election.py",
                "    return theirs >= (node.log.last_term, node.log.last_index)",
                "    return bool(theirs)",
            ),
        ),
    ),
    Mutant(
        0,
        "a second vote in one term",
        (
            (
                "protocol/election.py",
                "(node.voted_for == message.candidate or _free_to_vote(node, message))",
                "not node.leader",
            ),
            ("protocol/election.py", "        if node.voted_for is None:\n", "        if True:\n"),
        ),
    ),
    Mutant(
        6,
        "votes are counted by answer, not by voter",
        (
            (
                "protocol/election.py",
                "role is Role.CANDIDATE:\n        node.votes[message.voter] = message.granted",
                "role is Role.CANDIDATE:\n        node.votes[f'{len(node.votes)}'] = message.granted",
            ),
            ("quorum.py", "sum(votes.get(voter) is True for voter in half)", "sum(votes.values())"),
        ),
    ),
    Mutant(
        0,
        "the vote of an earlier term is kept in the next",
        (
            (
                "state/node.py",
                "self.set_hard_state(term, None)",
                "self.set_hard_state(term, self.voted_for)",
            ),
        ),
    ),
    Mutant(
        0,
        "one voter fewer is a majority for votes",
        (("quorum.py", "needed = majority(len(half))", "needed = max(1, len(half) // 2)"),),
    ),
    Mutant(
        27,
        "one voter fewer is a majority for commits",
        (("quorum.py", "ordered[len(ordered) // 2]", "ordered[max(0, len(ordered) // 2 - 1)]"),),
    ),
    Mutant(
        9,
        "answers of an earlier term are believed",
        (("state/node.py", "        return term == self.current_term\n", "        return True\n"),),
    ),
    Mutant(
        9,
        "a higher term in an answer is ignored",
        (
            (
                "state/node.py",
                "            self.become_follower(term, None)\n            return False\n",
                "            return False\n",
            ),
        ),
        # The simulator needs some two hundred seeds.
        ("core/test_paper_terms.py",),
    ),
    Mutant(
        0,
        "the term of the predecessor is not compared",
        (("state/log.py", "        if self._terms.term(index) == term:\n", "        if index:\n"),),
    ),
    Mutant(
        24,
        "a window of lost messages stays full",
        (("state/progress.py", "            self.check_due = True\n", "            pass\n"),),
    ),
    Mutant(
        30,
        "an entry larger than the bound never comes in",
        (("protocol/leader.py", "    if waiting and waiting + ", "    if waiting + "),),
    ),
    Mutant(
        17,
        "a leader that nobody answers goes on leading",
        (
            (
                "protocol/authority.py",
                "        if silent_ms >= config.election_timeout_ms or ",
                "        if ",
            ),
        ),
    ),
    Mutant(
        66,
        "a leadership transfer is never given up",
        (("protocol/transfer.py", "        leading.transfer = None\n", "        pass\n"),),
    ),
    Mutant(
        65,
        "cluster time is the leader's own clock",
        (("state/node.py", "time_ms = self.clock.read(self.now_ms)", "time_ms = self.now_ms"),),
    ),
    Mutant(
        65,
        "cluster time ignores the stamps of others",
        (
            (
                "state/clock.py",
                "self._value_ms = max(value_ms, self.read(now_ms))",
                "self._value_ms = self.read(now_ms)",
            ),
        ),
    ),
)
