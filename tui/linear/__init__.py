"""The console as a conversation, line by line."""
