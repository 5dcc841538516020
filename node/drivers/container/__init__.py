"""Containers, by Podman or Docker."""
