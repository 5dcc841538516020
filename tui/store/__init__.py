"""What the console knows of a cluster: the stream folded by id, and what follows from it. Pure."""
