"""The JSON documents and the plain text that scripts and people get of the cluster's rows. Pure."""
