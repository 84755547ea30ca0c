"""The queries that no tier and no judge settled, and the people who do."""
