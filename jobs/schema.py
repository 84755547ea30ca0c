"""`tierwise schema`: JSON Schema of a job spec, for editors."""

from jobs.options import print_json
from schemas.loading import json_schema


def command() -> None:
    """Print the JSON Schema of a job spec, for completion and checks in an editor."""
    print_json(json_schema())
