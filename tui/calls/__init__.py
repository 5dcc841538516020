"""The calls of ClusterClient, by area as the daemon's are."""
