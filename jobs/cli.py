"""The `tierwise` command: names the commands, turns errors into a message, a fix and an exit code."""

import json
import sys
from typing import Any

import typer

from jobs import (
    beat,
    cancel,
    certify,
    diff,
    doctor,
    estimate,
    feedback,
    init,
    judges,
    learn,
    policy,
    query,
    quote,
    reconcile,
    replay,
    report,
    resume,
    review,
    run,
    schedule,
    schema,
    status,
    submit,
    why,
    worker,
)
from schemas.errors import ReviewError, SpecError, TierwiseError

app = typer.Typer(
    name="tierwise",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Bulk language-model jobs at the lowest cost that meets an accuracy target, never over budget.",
)
for module in (
    init,
    run,
    estimate,
    quote,
    submit,
    worker,
    beat,
    status,
    resume,
    cancel,
    query,
    report,
    why,
    diff,
    judges,
    feedback,
    certify,
    learn,
    reconcile,
    replay,
    doctor,
    schema,
):
    app.command(name=module.__name__.rsplit(".", 1)[-1])(module.command)
app.add_typer(policy.app, name="policy")
app.add_typer(review.app, name="review")
app.add_typer(schedule.app, name="schedule")


def main(arguments: list[str] | None = None) -> None:
    """Exit codes: 0 done, 2 bad input, 3 rows over the spec's allowance, 4 halted (over_hold), 5 out of reach,
    6 drifted, 7 not certified, 8 billed otherwise than recorded."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=given, prog_name="tierwise")
    except (TierwiseError, ExceptionGroup) as raised:
        error = _cause(raised)
        if error is None:
            raise
        _say(error, as_json="--json" in given)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Nothing is lost: `tierwise resume JOB` goes on from here.\n")
        raise SystemExit(130) from None


def _cause(error: Exception) -> TierwiseError | None:
    """The first error of ours in what tasks that ran side by side have raised."""
    if not isinstance(error, ExceptionGroup):
        return error if isinstance(error, TierwiseError) else None
    return next(filter(None, map(_cause, error.exceptions)), None)


def _say(error: TierwiseError, as_json: bool) -> None:
    if as_json:
        said: dict[str, Any] = {"error": type(error).__name__, "message": error.message, "fix": error.fix}
        if isinstance(error, SpecError | ReviewError):
            said["problems"] = [problem.as_dict() for problem in error.problems]
        sys.stdout.write(json.dumps(said) + "\n")
        return
    sys.stderr.write(f"Error: {error.message}\n")
    if error.fix:
        sys.stderr.write(f"Fix: {error.fix}\n")


if __name__ == "__main__":
    main()
