"""An example project: seats at events, booked on any node of a cluster, never sold twice."""
