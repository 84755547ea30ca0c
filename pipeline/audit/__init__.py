"""A job's audit: rows drawn and asked of every tier, the plan they freeze, what is certified in the end."""
