"""One statement: what kind it is, what it touches, and how it is executed."""
