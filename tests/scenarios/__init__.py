"""Scenarios: scripts for a cluster in memory, with what it does written between the commands.

A file in `cases/` is read like a conversation.  Lines that begin with `#` explain, lines that begin
with `>` command, and indented lines are what the cluster does because of the command above them:

    # "A candidate wins an election if it receives votes from a majority" (paper §5.2).
    > cluster 3
    > campaign n1
      n1 is pre-candidate in term 0
      n1 -> n2 n3  PreVote for term 1, log ends 0@0

Nothing happens by itself: messages wait in the network, clocks stand still, each node has its own.
`3@1` is the entry with index 3 of term 1.  Election timeouts are not drawn: n1 waits 1100 ms, n2
1200 ms, and so on.  `python -m tests.scenarios --help` lists the commands and how the golden lines
are written anew.
"""
