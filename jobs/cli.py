"""The `tierwise` command: turns errors into a message, a fix and an exit code."""

import json
import sys
from typing import Any

import typer

from jobs.complete import complete, completes_a_job
from schemas.errors import ReviewError, SpecError, TierwiseError

USAGE: Any = typer.BadParameter.__mro__[2]  # Click's ClickException, whichever Click Typer brings
MISSING = {
    "JOB": "`tierwise status` lists the jobs; `latest` is the newest.",
    "JOB.yaml": "`tierwise init FILE` writes a spec from your documents.",
}


def main(arguments: list[str] | None = None) -> None:
    """Exit codes: 0 done, 2 bad input, 3 rows over the spec's allowance, 4 halted (over_hold), 5 out of reach,
    6 drifted, 7 not certified, 8 billed otherwise than recorded."""
    if completes_a_job():
        complete()
    from jobs.app import app_for  # late: a Tab does not wait for what commands load

    given = sys.argv[1:] if arguments is None else arguments
    try:
        ended = app_for(given)(args=given, prog_name="tierwise", standalone_mode=False)
    except USAGE as raised:
        _say_usage(raised, as_json="--json" in given)
        raise SystemExit(raised.exit_code) from None
    except (TierwiseError, ExceptionGroup) as raised:
        error = _cause(raised)
        if error is None:
            raise
        _say(error, as_json="--json" in given)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Nothing is lost: `tierwise resume JOB` goes on from here.\n")
        raise SystemExit(130) from None
    if isinstance(ended, int) and ended:
        raise SystemExit(ended)


def _say_usage(error: Any, as_json: bool) -> None:
    """Words that the command does not take, with what it takes."""
    if "NoArgsIsHelp" in type(error).__name__:
        error.show()
        return
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "tierwise"
    fix = f"`{command} --help` shows what it takes."
    missing = (
        getattr(getattr(error, "param", None), "metavar", None) if "Missing" in type(error).__name__ else None
    )
    fix = f"{MISSING[missing]} {fix}" if missing in MISSING else fix
    _print(type(error).__name__, error.format_message(), fix, as_json)


def _cause(error: Exception) -> TierwiseError | None:
    """The first error of ours in what tasks that ran side by side have raised."""
    if not isinstance(error, ExceptionGroup):
        return error if isinstance(error, TierwiseError) else None
    return next(filter(None, map(_cause, error.exceptions)), None)


def _say(error: TierwiseError, as_json: bool) -> None:
    more: dict[str, Any] = {}
    if isinstance(error, SpecError | ReviewError):
        more["problems"] = [problem.as_dict() for problem in error.problems]
    _print(type(error).__name__, error.message, error.fix, as_json, **more)


def _print(kind: str, message: str, fix: str, as_json: bool, **more: Any) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"error": kind, "message": message, "fix": fix, **more}) + "\n")
        return
    sys.stderr.write(f"Error: {message}\n")
    if fix:
        sys.stderr.write(f"Fix: {fix}\n")


if __name__ == "__main__":
    main()
