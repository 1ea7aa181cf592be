"""A write's way through a node: proposed, passed on to the leader, appended, answered; keys and turns."""
