"""What an operator does: one file per command."""
