"""What is an operator's own: choices, themes, arrangements, alerts, the editor."""
