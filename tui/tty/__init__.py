"""The terminal itself: what it can show, how fast it takes it, and the fewest bytes that change it."""
