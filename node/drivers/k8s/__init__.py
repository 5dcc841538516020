"""Jobs of Kubernetes clusters."""
