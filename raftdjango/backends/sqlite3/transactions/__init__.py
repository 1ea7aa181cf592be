"""One transaction: speculated on this machine, proposed, or given up."""
