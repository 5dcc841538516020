"""Keys as data: the table, the operator's own, and what is made of them. Pure."""
