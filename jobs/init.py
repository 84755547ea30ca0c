"""`tierwise init`: a commented job spec from a file of documents."""

import json
import os
import re
from collections.abc import Sequence
from decimal import ROUND_UP, Decimal
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.options import Json, print_json, run_async
from pipeline.estimate import estimate
from pipeline.guess import Guess, guess
from pipeline.sources import read_rows
from pipeline.submit import Prepared, prepare
from schemas.errors import InputError
from schemas.ids import Nano
from schemas.loading import load_spec
from schemas.money import format_usd, nano_to_usd

SEEN = 1000  # rows
MODELS = ("gpt-4.1-nano", "gpt-4.1-mini", "gpt-4.1")
Kind = Literal["classify", "extract", "answer"]
_CAP = "{cap}"
_TASKS = {
    "classify": "  kind: classify\n  instructions: Say which label fits the document. # say what the labels mean",
    "extract": "  kind: extract\n  instructions: Extract the fields from the document."
    "\n  schema: # JSON Schema of what to extract\n    type: object"
    "\n    properties: {title: {type: string}}\n    required: [title]",
    "answer": "  kind: answer\n  instructions: Answer in one sentence what the document is about.",
}


def command(
    documents: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, JSONL or Parquet.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The spec to write.")] = Path("job.yaml"),
    kind: Annotated[
        Kind | None, typer.Option("--task", help="Default: classify where labels are seen.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column with the document.")] = None,
    gold: Annotated[str | None, typer.Option(help="Column with the right answer.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="A label to answer with; several times.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model of OpenAI's, cheapest first.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the spec.")] = False,
    as_json: Json = False,
) -> None:
    """Write a job spec from the first rows of a file: its columns guessed, its labels counted, its price told."""
    if output.exists() and not force:
        raise typer.BadParameter(f"{output} is there already: give --force, or another -o")
    found = _guess(documents, text, gold)
    labels = tuple(label or found.labels)
    kind = kind or ("classify" if len(labels) > 1 else "answer")
    if kind == "classify" and len(labels) < 2:
        raise InputError(
            path=str(documents), why="no column looks like labels", fix="Name them: --label A --label B …"
        )
    written = _spec(documents, output, found, kind, labels, tuple(model or MODELS))
    said = estimate(_prepared(written, documents), cap=Nano(0))
    usd = _rounded(nano_to_usd(said.high))
    try:
        output.write_text(written.replace(_CAP, f"{usd:f}"), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}") from None
    if as_json:
        print_json({"spec": str(output), "task": kind, "text": found.text, "id": found.id, "gold": found.label,
                    "labels": list(labels), "queries": said.queries, "expected_usd": nano_to_usd(said.expected),
                    "high_usd": nano_to_usd(said.high), "budget_usd": usd})  # fmt: skip
        return
    typer.echo(f"Wrote {output}: {kind} {said.queries:,} documents from column {found.text!r}.")
    typer.echo(
        f"  id: {found.id or 'the number of the row'}; gold: {found.label or 'none'}; labels: {len(labels)}"
    )
    typer.echo(f"  about {format_usd(said.expected)}, at most {format_usd(said.high)} if every tier is asked")
    typer.echo(
        f"Next: look through it, then `tierwise estimate {output}` and `tierwise run {output} --limit 20`."
    )


def _guess(documents: Path, text: str | None, gold: str | None) -> Guess:
    if not documents.is_file():
        raise InputError(path=str(documents), why="no such file", fix="Give a CSV, JSONL or Parquet file.")
    rows = list(islice(read_rows(documents, "auto"), SEEN))
    names = {name for row in rows for name in row}
    for said in (text, gold):
        if said is not None and said not in names:
            fix = f"Columns: {', '.join(sorted(names))}."
            raise InputError(path=str(documents), why=f"it has no column {said!r}", fix=fix)
    found = guess(rows, text=text, label=gold)
    if found.text is None:
        raise InputError(
            path=str(documents), why="no column looks like a document", fix="Name it: --text COLUMN."
        )
    return found


def _prepared(written: str, documents: Path) -> Prepared:
    """As if it stood beside the documents. Raises SpecError, which names what a flag can mend."""
    spec = load_spec(written.replace(_CAP, "1"), "the spec")
    source = spec.input.model_copy(update={"path": str(documents.absolute())})
    spec = spec.model_copy(update={"input": source})
    return run_async(prepare(spec, documents.parent, "the spec", for_calls=False))


def _rounded(usd: Decimal) -> Decimal:
    """Up to two digits, at least a cent: a cap, not a price."""
    cents = max(usd, Decimal("0.01"))
    return cents.quantize(Decimal(1).scaleb(cents.adjusted() - 1), rounding=ROUND_UP)


def _spec(
    documents: Path, output: Path, found: Guess, kind: Kind, labels: Sequence[str], models: Sequence[str]
) -> str:
    path = os.path.relpath(documents.absolute(), output.absolute().parent)
    columns = {"id": found.id, "text": found.text, "gold": found.label}
    named = "\n".join(
        f"  {name}: {_quoted(column)}" for name, column in columns.items() if column is not None
    )
    rungs = "\n".join(_rung(model, last=model == models[-1]) for model in models)
    return f"""# Check it: tierwise estimate {output.name}. Try it: tierwise run {output.name} --limit 20
version: 1
name: {_name(documents.name.split(".")[0])}

task:
{_TASKS[kind]}{_labels(labels) if kind == "classify" else ""}
  # mask: [email, phone, card, iban]   # personal data, taken out before anything is sent

input:
  path: {_quoted(path)}
{named}

tiers: # cheapest first; an answer whose P(correct) reaches `accept` is believed, else the next tier is asked
{rungs}

budget:
  usd: {_CAP} # a hard cap: no call is sent that could go over it; the default is what asking every tier costs
"""


def _labels(labels: Sequence[str]) -> str:
    return "\n  labels:\n" + "\n".join(f"    - {_quoted(label)}" for label in labels)


def _rung(model: str, *, last: bool) -> str:
    accept = "" if last else ", accept: 0.9"
    return (
        f"  - {{name: {_name(model.rsplit('/', 1)[-1])}, provider: openai, model: {_quoted(model)}{accept}}}"
    )


def _name(text: str) -> str:
    return _quoted(re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:60] or "job")


def _quoted(text: str) -> str:
    """As YAML, whatever stands in it; JSON's strings are YAML's."""
    return json.dumps(text, ensure_ascii=False)
