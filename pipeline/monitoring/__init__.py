"""What operators see of jobs and workers: progress, checks, metrics, logs, traces."""
