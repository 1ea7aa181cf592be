"""How a cluster comes to be."""
