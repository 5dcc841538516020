"""What tasks of other types than shell carry in TaskSpec.payload: one module for each type, one struct in it.

They are checked before the log and read again where the task runs, by the same code.
"""
