"""What is known of one thing, as lines for the detail screens."""
