"""The way to the other nodes and back: what is sent when, in which pieces, signed."""
