"""The mistakes: what each is, and the change to `raftcore` that makes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake; `edits` are (file, text there now, text instead)."""

    name: str
    edits: tuple[tuple[str, str, str], ...]


MUTANTS = (
    Mutant(
        "entries of earlier terms are committed by counting",
        (("leader.py", " and node.log.term(index) == node.current_term:", ":"),),
    ),
    Mutant(
        "the vote is not written",
        (
            (
                "state.py",
                "HardState(self.current_term, self.voted_for)",
                "HardState(self.current_term, None)",
            ),
        ),
    ),
    Mutant(
        "votes leave before they are durable",
        (
            (
                "outbox.py",
                "after_all if tells_of_log else after_state",
                "after_all if tells_of_log else 0",
            ),
        ),
    ),
    Mutant(
        "acknowledgements leave before the entries are durable",
        (("outbox.py", "after_all if tells_of_log else after_state", "after_state"),),
    ),
    Mutant(
        "a leader counts itself before its write",
        (("leader.py", "return node.log.stable_index", "return node.log.last_index"),),
    ),
    Mutant(
        "applied before durable",
        (("core.py", "min(log.commit_index, log.stable_index)", "log.commit_index"),),
    ),
    Mutant(
        "a shorter message cuts the log",
        (
            (
                "log.py",
                "        for entry in entries[known:]:\n",
                "        if 0 < known == len(entries) and self.last_index > entries[-1].index:\n"
                "            self._truncate(entries[-1].index + 1)\n"
                "        for entry in entries[known:]:\n",
            ),
        ),
    ),
    Mutant(
        "a conflict is not cut off",
        (("log.py", "            self._truncate(entries[known].index)\n", "            return\n"),),
    ),
    Mutant(
        "a follower commits beyond the message",
        (
            (
                "follower.py",
                "min(message.leader_commit, covered)",
                "min(message.leader_commit, log.last_index)",
            ),
        ),
    ),
    Mutant(
        "a follower acknowledges beyond the message",
        (("follower.py", "max(covered, log.commit_index))", "log.last_index)"),),
    ),
    Mutant(
        "heartbeats carry the commit index unclamped",
        (
            (
                "authority.py",
                "min(node.log.commit_index, progress.match_index)",
                "node.log.commit_index",
            ),
        ),
    ),
    Mutant(
        "last index and term are compared independently",
        (
            (
                "election.py",
                "    return theirs >= (node.log.last_term, node.log.last_index)",
                "    return theirs[0] >= node.log.last_term and theirs[1] >= node.log.last_index",
            ),
        ),
    ),
    Mutant(
        "the longer log wins, whatever its term",
        (
            (
                "election.py",
                "    return theirs >= (node.log.last_term, node.log.last_index)",
                "    return theirs[1] >= node.log.last_index",
            ),
        ),
    ),
    Mutant(
        "anybody may be voted for, however short its log",
        (
            (
                "election.py",
                "    return theirs >= (node.log.last_term, node.log.last_index)",
                "    return bool(theirs)",
            ),
        ),
    ),
    Mutant(
        "a second vote in one term",
        (
            (
                "election.py",
                "(node.voted_for == message.candidate or (node.voted_for is None and not node.leader))",
                "not node.leader",
            ),
            ("election.py", "        if node.voted_for is None:\n", "        if True:\n"),
        ),
    ),
    Mutant(
        "votes are counted by answer, not by voter",
        (
            (
                "election.py",
                "role is Role.CANDIDATE:\n        node.votes[message.voter] = message.granted",
                "role is Role.CANDIDATE:\n        node.votes[f'{len(node.votes)}'] = message.granted",
            ),
            ("quorum.py", "sum(votes.get(voter) is True for voter in half)", "sum(votes.values())"),
        ),
    ),
    Mutant(
        "the vote of an earlier term is kept in the next",
        (
            (
                "state.py",
                "self.set_hard_state(term, None)",
                "self.set_hard_state(term, self.voted_for)",
            ),
        ),
    ),
    Mutant(
        "one voter fewer is a majority for votes",
        (("quorum.py", "majority = len(half) // 2 + 1", "majority = max(1, len(half) // 2)"),),
    ),
    Mutant(
        "one voter fewer is a majority for commits",
        (("quorum.py", "ordered[len(ordered) // 2]", "ordered[max(0, len(ordered) // 2 - 1)]"),),
    ),
    Mutant(
        "answers of an earlier term are believed",
        (("state.py", "        return term == self.current_term\n", "        return True\n"),),
    ),
    Mutant(
        "a higher term in an answer is ignored",
        (
            (
                "state.py",
                "            self.become_follower(term, None)\n            return False\n",
                "            return False\n",
            ),
        ),
    ),
    Mutant(
        "the term of the predecessor is not compared",
        (("log.py", "        if self._terms.term(index) == term:\n", "        if index:\n"),),
    ),
    Mutant(
        "a write under way makes durable what has replaced its entries",
        (
            (
                "writes.py",
                "            write.last_index = min(write.last_index, first - 1)\n",
                "            pass\n",
            ),
        ),
    ),
    Mutant(
        "a window of lost messages stays full",
        (("progress.py", "            self.check_due = True\n", "            pass\n"),),
    ),
    Mutant(
        "an entry larger than the bound never comes in",
        (("leader.py", "    if waiting and waiting + ", "    if waiting + "),),
    ),
    Mutant(
        "a leader that nobody answers goes on leading",
        (
            (
                "authority.py",
                "        if silent_ms >= config.election_timeout_ms or ",
                "        if ",
            ),
        ),
    ),
    Mutant(
        "a leadership transfer is never given up",
        (("transfer.py", "        leading.transfer = None\n", "        pass\n"),),
    ),
    Mutant(
        "cluster time is the leader's own clock",
        (("leader.py", "time_ms = node.clock.read(node.now_ms)", "time_ms = node.now_ms"),),
    ),
    Mutant(
        "cluster time ignores the stamps of others",
        (
            (
                "clock.py",
                "self._value_ms = max(value_ms, self.read(now_ms))",
                "self._value_ms = self.read(now_ms)",
            ),
        ),
    ),
)
