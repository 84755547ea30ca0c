"""What a job's answers were worth, and what routing learns from it between batches. Reads the lake through DuckDB."""
