"""What a closed job came to, read from its final tables through DuckDB."""
