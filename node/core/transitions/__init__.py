"""What each command does to the rows, one function per transition; node.core.machine says when each is allowed."""
