"""From a spec file to a job that is ready to run."""
