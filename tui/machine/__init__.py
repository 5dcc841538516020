"""A cluster on this machine: its folder, its daemons, its sample work."""
