"""The commands of `tierwise` by their names. A command is loaded when it is asked for: all of them take a second."""

from collections.abc import Sequence
from importlib import import_module

import typer

COMMANDS = (
    "init", "run", "estimate", "quote", "submit", "worker", "beat", "status", "resume", "cancel", "query", "report",
    "why", "diff", "judges", "feedback", "certify", "learn", "reconcile", "replay", "doctor", "schema",
)  # fmt: skip
GROUPS = ("policy", "review", "schedule")
HELP = "Bulk language-model jobs at the lowest cost that meets an accuracy target, never over budget."


def app_for(words: Sequence[str]) -> typer.Typer:
    """The app with the one command that the first word names, else with all."""
    app = typer.Typer(name="tierwise", no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback(help=HELP)(lambda: None)  # a single command would else need no name
    known = (*COMMANDS, *GROUPS)
    for name in [words[0]] if words and words[0] in known else known:
        module = import_module(f"jobs.{name}")
        if name in GROUPS:
            app.add_typer(module.app, name=name)
        else:
            app.command(name=name)(module.command)
    return app
