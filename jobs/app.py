"""The commands of `tierwise` by their names."""

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
