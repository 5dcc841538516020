"""What operators do with a cluster's state while no daemon runs on it: back up, restore, recover, repair."""
