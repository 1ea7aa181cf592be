"""Whether a history of operations on shared data could have happened one operation at a time."""
