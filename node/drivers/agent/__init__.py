"""Agents on a prompt, and messages for sessions of theirs."""
