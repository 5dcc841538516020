"""What the operator can change, by area."""
