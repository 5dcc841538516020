"""Sandbox levels: what a command sees of its machine, and what it may use of it."""
