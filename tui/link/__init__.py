"""The way to the daemons: which cluster is meant, calls and streams that survive lost links."""
