"""What a console received and which keys it was given, recorded and played again."""
