"""The columns of every table, as data: what a cell shows, how it sorts, and what a filter may name."""
