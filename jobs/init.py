"""`tierwise init`: a commented job spec from a file of documents."""

import os
import re
import sys
from collections import Counter
from decimal import ROUND_UP, Decimal
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from jobs.options import Json, print_json, run_async, usd
from pipeline.estimate import estimate
from pipeline.sources import read_rows
from pipeline.submit.draft import CAP, Classifier, Draft, Kind, Model, write_draft
from pipeline.submit.guess import Guess, guess
from pipeline.submit.spec import Prepared, prepare
from schemas.errors import InputError
from schemas.ids import Nano
from schemas.loading import load_spec
from schemas.money import format_usd, nano_to_usd

SEEN = 1000  # rows
MODELS = ("gpt-4.1-nano", "gpt-4.1-mini", "gpt-4.1")
Prices = dict[str, tuple[str, str]]


def command(
    documents: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, JSONL or Parquet.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The spec to write.")] = Path("job.yaml"),
    kind: Annotated[
        Kind | None, typer.Option("--task", help="Default: classify where labels are seen.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column with the document.")] = None,
    gold: Annotated[str | None, typer.Option(help="Column with the right answer.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="A label to answer with; several times.")] = None,
    train: Annotated[
        Path | None, typer.Option(help="Labelled examples: a classifier taught on them is asked first, free.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model, cheapest first; several times.")] = None,
    free: Annotated[bool, typer.Option("--free", help="No model: the classifier alone.")] = False,
    base_url: Annotated[
        str | None,
        typer.Option(envvar="OPENAI_BASE_URL", help="Endpoint that speaks OpenAI's chat completions."),
    ] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="The endpoint needs no key.")] = False,
    price: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL=IN/OUT", help="USD per million tokens, where no price list has it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take what is guessed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the spec.")] = False,
    as_json: Json = False,
) -> None:
    """Write a job spec from the first rows of a file: its columns guessed, its labels counted, its price told. On a
    terminal, what no option says is asked."""
    if output.exists() and not force:
        raise typer.BadParameter(f"{output} is there already: give --force, or another -o")
    if free and (model or train is None):
        raise typer.BadParameter("--free needs --train FILE, and no --model")
    asks = not (yes or as_json) and sys.stdin.isatty() and sys.stderr.isatty()
    found = _guess(documents, text, gold)
    if asks:
        text = text or _ask("Column with the document", found.text)
        gold = gold or _ask("Column with the right answer, if any", found.label)
        found = _guess(documents, text, gold)
    labels = tuple(label or _labels(documents, found.label))
    if train and found.label and not label:
        labels += tuple(
            each for each in _labels(train, _guess(train, None, None).label) if each not in labels
        )
    kind = kind or ("classify" if len(labels) > 1 else "answer")
    if kind == "classify" and len(labels) < 2:
        fix = "Name them: --label A --label B …"
        raise InputError(path=str(documents), why="no column looks like labels", fix=fix)
    models = tuple(model or ())
    if not models and not free:
        models = _models(_ask("Models, cheapest first", ", ".join(MODELS))) if asks else MODELS
    prices = _prices(price or [])
    draft = Draft(
        file=output.name,
        documents=_from_spec(documents, output),
        columns={"id": found.id, "text": found.text, "gold": found.label},
        kind=kind,
        labels=labels,
        classifier=_classifier(train, output) if train else None,
        models=[
            Model(model=each, base_url=base_url, keyless=no_key, price=prices.get(each)) for each in models
        ],
    )
    written = write_draft(draft)
    said = estimate(_prepared(written, output.absolute().parent), cap=Nano(0))
    cap = _rounded(nano_to_usd(said.high))
    try:
        output.write_text(written.replace(CAP, f"{cap:f}"), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}") from None
    if as_json:
        print_json({"spec": str(output), "task": kind, "text": found.text, "id": found.id, "gold": found.label,
                    "labels": list(labels), "queries": said.queries, "expected_usd": nano_to_usd(said.expected),
                    "high_usd": nano_to_usd(said.high), "budget_usd": cap})  # fmt: skip
        return
    typer.echo(f"Wrote {output}: {kind} {said.queries:,} documents from column {found.text!r}.")
    typer.echo(
        f"  id: {found.id or 'the number of the row'}; gold: {found.label or 'none'}; labels: {len(labels)}"
    )
    typer.echo(f"  about {format_usd(said.expected)}, at most {format_usd(said.high)} if every tier is asked")
    typer.echo(
        f"Next: look through it, then `tierwise estimate {output}` and `tierwise run {output} --limit 20`."
    )


def _ask(what: str, guessed: str | None) -> str:
    return str(typer.prompt(what, default=guessed or "", err=True)).strip()


def _models(said: str) -> tuple[str, ...]:
    return tuple(re.split(r"[,\s]+", said))


def _guess(documents: Path, text: str | None, gold: str | None) -> Guess:
    if not documents.is_file():
        raise InputError(path=str(documents), why="no such file", fix="Give a CSV, JSONL or Parquet file.")
    rows = list(islice(read_rows(documents, "auto"), SEEN))
    names = {name for row in rows for name in row}
    for said in (text, gold):
        if said and said not in names:
            fix = f"Columns: {', '.join(sorted(names))}."
            raise InputError(path=str(documents), why=f"it has no column {said!r}", fix=fix)
    found = guess(rows, text=text or None, label=gold or None)
    if found.text is None:
        fix = "Name it: --text COLUMN."
        raise InputError(path=str(documents), why="no column looks like a document", fix=fix)
    return found


def _labels(path: Path, column: str | None) -> list[str]:
    """All of the file's: it may be sorted by them. The most frequent first."""
    if column is None:
        return []
    cells = (row.get(column) for row in read_rows(path, "auto"))
    counted = Counter(str(cell) for cell in cells if cell is not None and cell != "")
    return sorted(counted, key=lambda each: (-counted[each], each))


def _classifier(train: Path, output: Path) -> Classifier:
    seen = _guess(train, None, None)
    if seen.label is None:
        fix = "Give a file with a column of texts and one of labels."
        raise InputError(path=str(train), why="no column looks like labels", fix=fix)
    return Classifier(train=_from_spec(train, output), text=str(seen.text), label=seen.label)


def _prices(given: list[str]) -> Prices:
    prices = {}
    for each in given:
        parts = re.fullmatch(r"(.+)=([^/]+)/([^/]+)", each)
        if parts is None:
            raise typer.BadParameter(f"{each!r}: write MODEL=IN/OUT, such as llama3=0.1/0.4")
        prices[parts[1]] = (f"{usd(parts[2]):f}", f"{usd(parts[3]):f}")
    return prices


def _from_spec(path: Path, output: Path) -> str:
    return os.path.relpath(path.absolute(), output.absolute().parent)


def _prepared(written: str, folder: Path) -> Prepared:
    """Raises SpecError, which names what a flag can mend."""
    spec = load_spec(written.replace(CAP, "1"), "the spec")
    return run_async(prepare(spec, folder, "the spec", for_calls=False))


def _rounded(amount: Decimal) -> Decimal:
    """Up to two digits and whole cents, at least one: a cap, not a price."""
    cents = max(amount, Decimal("0.01"))
    return cents.quantize(Decimal(1).scaleb(max(cents.adjusted() - 1, -2)), rounding=ROUND_UP)
