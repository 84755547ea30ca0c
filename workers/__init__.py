"""The only Celery code, and the inline dispatcher that needs none."""
