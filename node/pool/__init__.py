"""What modules with handlers import: `from node.pool import handler`. Nothing of the daemon comes with it."""

from node.pool.api import Cancelled, Context, Reschedule, RetryAt, ValidationError, handler

__all__ = ["Cancelled", "Context", "Reschedule", "RetryAt", "ValidationError", "handler"]
