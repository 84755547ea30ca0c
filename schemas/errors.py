"""One error base. The class docstring is the message; fields fill it in; `fix` says the way out.

Exit codes of the CLI: 2 bad input (nothing was spent), 3 ended with rows over the spec's allowance,
4 halted because a provider billed over a proven bound, 5 a service is out of reach, 6 the latest job drifted,
7 what `quality` asks for is not certified, 8 a provider's usage export and the ledger differ without a reason.
"""

import inspect

from schemas.secrets import hide


class TierwiseError(Exception):
    """Something went wrong."""

    exit_code: int = 1
    fix: str = ""

    def __init__(self, *, fix: str = "", **fields: object) -> None:
        self.fields = fields
        self.message = inspect.cleandoc(type(self).__doc__ or "").format(**fields)
        self.fix = fix or type(self).fix.format(**fields)
        super().__init__(f"{self.message} {self.fix}".strip())

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.fix, self.fields))


def _rebuild(kind: type[TierwiseError], fix: str, fields: dict[str, object]) -> TierwiseError:
    return kind(fix=fix, **fields)


class Problem:
    """One mistake in a spec: where it is and what to write instead."""

    __slots__ = ("fix", "line", "message", "path")

    def __init__(self, path: str, message: str, fix: str = "", line: int | None = None) -> None:
        self.path, self.message, self.fix, self.line = hide(path), hide(message), hide(fix), line

    def __str__(self) -> str:
        place = f"{self.path} (line {self.line})" if self.line else self.path
        return f"{place}: {self.message}" + (f" Fix: {self.fix}" if self.fix else "")

    def as_dict(self) -> dict[str, object]:
        return {"path": self.path, "line": self.line, "message": self.message, "fix": self.fix}


class SpecError(TierwiseError):
    """{source}: {count} problem(s) in the job spec. Nothing was spent.
    {listing}"""

    exit_code = 2

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.problems = problems
        listing = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
        super().__init__(source=source, count=len(problems), listing=listing)

    def __reduce__(self) -> tuple[object, ...]:
        return (SpecError, (self.fields["source"], self.problems))


class MissingCredential(TierwiseError):
    """Tier {tier} needs the environment variable {variable}, which is not set. Nothing was spent."""

    exit_code = 2
    fix = "export {variable}=… and run again."


class BadSecret(TierwiseError):
    """The webhook's secret in the environment variable {variable} {why}."""

    exit_code = 2
    fix = "export {variable}=whsec_$(openssl rand -base64 32), here, for the workers and for the receiver."


class UnpricedModel(TierwiseError):
    """Tier {tier}: no price is known for model {model!r} ({why}). Nothing was spent."""

    exit_code = 2
    fix = "Write the tier's own price: {{input: USD per million tokens, output: …}}."


class MissingExtra(TierwiseError):
    """{feature} needs a package that is not installed."""

    exit_code = 2
    fix = "pip install {package}"


class UnknownScheme(TierwiseError):
    """No {port} for the URL {url!r}."""

    exit_code = 2
    fix = "Known: {known}."


class UnknownJob(TierwiseError):
    """There is no job {job!r} here."""

    exit_code = 2
    fix = "`tierwise status` lists the jobs; check TIERWISE_LEDGER and TIERWISE_LAKE."


class AmbiguousJob(TierwiseError):
    """{count} jobs begin with {job!r}: {jobs}."""

    exit_code = 2
    fix = "Write more of its id, or `latest` for the newest job."


class JobExists(TierwiseError):
    """Job {job!r} exists already. Nothing was spent."""

    exit_code = 2
    fix = "Give another --job, or `tierwise resume {job}`."


class JobNotClosed(TierwiseError):
    """Job {job!r} is {state}."""

    exit_code = 2
    fix = "Wait for it (`tierwise status {job} --watch`), or `tierwise cancel {job}` first."


class Infeasible(TierwiseError):
    """Job {job!r} was stopped: {why}"""

    exit_code = 7
    fix = "Submit it anew with another target or ladder: the plans that its audit tested stay as they were."


class InputError(TierwiseError):
    """The input {path} cannot be read: {why}. Nothing was spent."""

    exit_code = 2


class NothingNew(TierwiseError):
    """Nothing new: {why}. No job was made."""

    exit_code = 0


class OutputError(TierwiseError):
    """The file {path} cannot be written: {why}."""

    exit_code = 2
    fix = "Name a file in a folder that you may write to."


class FeedbackError(TierwiseError):
    """The labels of {job} cannot be taken, and none was stored: {why}"""

    exit_code = 2
    fix = "Give one row a query with its id in `query_id` and a label of the task in `label`; then run it again."


class ReviewError(TierwiseError):
    """{source}: {count} row(s) are wrong, and none was stored.
    {listing}"""

    exit_code = 2
    shown = 50  # rows that the message lists; `--json` lists all

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.problems = problems
        lines = [f"  {number}. {problem}" for number, problem in enumerate(problems[: self.shown], 1)]
        if len(problems) > self.shown:
            lines.append(f"  … and {len(problems) - self.shown} more (--json lists all)")
        super().__init__(source=source, count=len(problems), listing="\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        return (ReviewError, (self.fields["source"], self.problems))


class UsageError(TierwiseError):
    """The usage export {path} cannot be read: {why}. Nothing was changed."""

    exit_code = 2


class ReleaseUnderWay(TierwiseError):
    """Another process is releasing presumed spend. Nothing was changed."""

    exit_code = 5
    fix = "Run it again when that has ended; what was released is not released twice."


class UnknownPolicy(TierwiseError):
    """No policy {name!r}: {why}."""

    exit_code = 2
    fix = "`tierwise policy show` lists what was learned."


class UnknownSchedule(TierwiseError):
    """No schedule {name!r}."""

    exit_code = 2
    fix = "`tierwise schedule list` says which there are; `tierwise schedule add JOB.yaml` adds one."


class LedgerUnreachable(TierwiseError):
    """The ledger {url} is out of reach: {why}. No call was sent without a durable hold."""

    exit_code = 5
    fix = "Start it or correct TIERWISE_LEDGER, then `tierwise resume`."


class NewerSchema(TierwiseError):
    """The {name} at {url} has schema {why}, which a newer Tierwise wrote. Nothing was read or written."""

    exit_code = 5
    fix = "Upgrade Tierwise here to the version that runs elsewhere."


class OlderSchema(TierwiseError):
    """The lake at {url} has schema {why}. Nothing was read or written."""

    exit_code = 5
    fix = "Stop its workers, then run `tierwise doctor --migrate`; it may be interrupted and run again."


class LakeUnreachable(TierwiseError):
    """The lake {url} cannot be used: {why}."""

    exit_code = 5
    fix = "Make it writable or correct TIERWISE_LAKE."


class BrokerUnreachable(TierwiseError):
    """The broker {url} is out of reach: {why}. Nothing was spent."""

    exit_code = 5
    fix = "Start it or correct TIERWISE_BROKER; `tierwise run` needs no broker."


class UnconditionalStore(TierwiseError):
    """The store {url} ignores conditional writes, so two workers could both commit a batch."""

    exit_code = 5
    fix = "Use a store that honours If-None-Match on PUT (AWS S3, MinIO, moto's server)."


class NoSuchObject(TierwiseError):
    """The lake holds no object {key!r}."""


class LeaseLost(TierwiseError):
    """The lease on {name} was lost to a later holder; its work is kept, nothing was committed twice."""


class QueryRefused(TierwiseError):
    """This statement is not allowed: {why}."""

    exit_code = 2
    fix = "`tierwise query` runs one SELECT (or EXPLAIN of one) over the views of the lake."
