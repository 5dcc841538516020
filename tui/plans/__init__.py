"""What actions would do, shown before they are done. Pure."""
