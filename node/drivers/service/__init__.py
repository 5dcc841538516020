"""Commands that stay up, and say when they are ready."""
