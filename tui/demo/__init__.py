"""A made-up cluster in this process, the same every time: to measure the console, for pictures, for a look."""
