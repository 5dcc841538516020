"""Rows in slots, kept filtered, sorted and grouped change by change; the grammar of filters. Pure."""
