"""Mistakes in linearizable reads."""

from __future__ import annotations

from tests.mutants.mutant import tested

TESTED = (
    tested(
        59,
        "a leader serves reads before an entry of its own term is committed",
        "protocol/reads.py",
        "        and node.log.term(node.log.commit_index) == node.current_term\n",
        "",
        "core/test_reads.py",
    ),
    tested(
        60,
        "a round is confirmed by answers to earlier heartbeats",
        "protocol/reads.py",
        "    while rounds and rounds[0].sequence <= sequence:\n",
        "    while rounds and rounds[0].sequence <= sequence + 1:\n",
        "core/test_reads.py",
    ),
    tested(
        60,
        "an answer to another question is taken for this one's",
        "protocol/reads.py",
        "(asked.term, asked.request) != (message.term, message.request):\n",
        "asked.term != message.term:\n",
        "core/test_reads_forwarded.py",
    ),
    tested(
        60,
        "the questions of a restarted node are numbered as before",
        "state/reads.py",
        "next_request=rng.getrandbits(62)",
        "next_request=0",
        "core/test_reads_forwarded.py",
    ),
    tested(
        61,
        "a read is served before its index is applied",
        "state/reads.py",
        "        while self.confirmed and self.confirmed[0].index <= applied_index:\n",
        "        while self.confirmed:\n",
        "core/test_reads.py",
    ),
    tested(
        62,
        "a lease begins when the answers come",
        "protocol/authority.py",
        "            progress.contact_ms = max(sent_ms, progress.contact_ms or sent_ms)\n",
        "            progress.contact_ms = leading.heartbeats_sent[-1][1] + 100\n",
        "core/test_reads_lease.py",
    ),
    tested(
        62,
        "a lease lasts as long as the promise it rests on",
        "protocol/authority.py",
        "    lasts_ms = int((config.election_timeout_ms - 1) / (1 + config.clock_drift)) - 1\n",
        "    lasts_ms = config.election_timeout_ms\n",
        "core/test_reads_lease.py",
    ),
    tested(
        63,
        "a transfer leaves the lease standing",
        "protocol/authority.py",
        "    if not config.lease_reads or leading.lease_void:\n",
        "    if not config.lease_reads:\n",
        "core/test_reads_lease.py",
    ),
    tested(
        18,
        "the own vote of the only voter is bound by no promise",
        "protocol/election.py",
        "now_ms if alone else max(node.now_ms, node.promised_until_ms)\n",
        "now_ms\n",
        "core/test_reads_lease.py",
    ),
    tested(
        66,
        "a read whose index never comes waits for ever",
        "protocol/reads.py",
        "    if not confirmed or confirmed[-1].index <= node.log.commit_index:\n",
        "    if not confirmed or confirmed[-1].index > 0:\n",
        "core/test_reads_forwarded.py",
    ),
    tested(
        52,
        "a round of reads needs one majority of two",
        "quorum.py",
        "    return min(_majority_value(",
        "    return max(_majority_value(",
        "core/test_reads.py",
    ),
    tested(
        57,
        "learners confirm reads",
        "protocol/reads.py",
        "    sequence = quorum.reached(node.membership, answered)\n",
        "    sequence = sorted([answered(member) for member in node.membership.members])[\n"
        "        len(node.membership.members) // 2\n    ]\n",
        "core/test_reads.py",
    ),
    tested(
        66,
        "reads of a leader that gave up are forgotten",
        "protocol/reads.py",
        '        reads.refuse(lost.here, "leader lost")\n',
        "        pass\n",
        "core/test_reads.py",
    ),
)
