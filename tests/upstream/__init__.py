"""An OpenAI-compatible server with its own meter; shares no code with what it judges (README.md)."""
