"""Past moments of a cluster, in the form that every screen shows."""
