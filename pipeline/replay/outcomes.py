"""A Parquet file of recorded outcomes as matrices, one per dataset."""

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.router.observed import Codes, Observed
from schemas.errors import InputError

NEEDED = ("dataset", "query_id", "text", "model", "correct")
OPTIONAL = ("response", "cost_usd", "confidence", "input_tokens", "output_tokens", "category")
PRICE_COLUMNS = {
    "model": ("model",),
    "input": ("input", "usd_per_mtok_in"),
    "output": ("output", "usd_per_mtok_out"),
}
BYTES_PER_TOKEN = 4  # where no tokens were recorded, four bytes of UTF-8 count as one


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Tokens assumed where the file records none: the prompt around each text, and the answer."""

    prompt: int = 200
    output: int = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """One dataset: every query that all its models were asked and graded on."""

    dataset: str
    models: tuple[str, ...]
    texts: tuple[str, ...]
    observed: Observed
    left_out: int  # queries that some model has no graded outcome for
    priced: bool  # costs come from a price list and lengths, not from the file
    answers: tuple[str, ...] = ()  # what each code of an answer stands for
    categories: tuple[str, ...] = ()  # and each code of a category


Prices = dict[str, tuple[float, float]]  # model -> USD per million tokens, input and output


def read_outcomes(
    path: Path,
    *,
    models: Sequence[str] = (),
    datasets: Sequence[str] = (),
    prices: Prices | None = None,
    lengths: Lengths | None = None,
) -> list[Outcomes]:
    """All datasets of a file, in order of name. Raises InputError naming what is missing."""
    tables = _by_dataset(path)
    if missing := sorted(set(datasets) - set(tables)):
        why, fix = f"it has no dataset {', '.join(missing)}", f"It has {', '.join(sorted(tables))}."
        raise InputError(path=str(path), why=why, fix=fix)
    tables = {name: rows for name, rows in tables.items() if not datasets or name in datasets}
    return [
        _outcomes(path, name, rows, models, prices or {}, lengths or Lengths())
        for name, rows in sorted(tables.items())
    ]


def coded_like(one: Outcomes, known: Outcomes) -> Outcomes:
    """The outcomes with the codes of others, so that what was learned of a label there holds here."""
    observed = replace(
        one.observed,
        answer=_translated(one.observed.answer, one.answers, known.answers),
        category=_translated(one.observed.category, one.categories, known.categories),
    )
    return replace(one, observed=observed, answers=known.answers, categories=known.categories)


def _translated(codes: Codes, mine: Sequence[str], known: Sequence[str]) -> Codes:
    """What the others never saw gets numbers past theirs; -1 stays."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys([*known, *mine]))}
    return np.array([*(numbers[value] for value in mine), -1], dtype=np.intp)[codes]


def read_prices(path: Path) -> Prices:
    """A CSV with columns model, input and output, USD per million tokens; of several rows for a model the last
    stands."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        given = reader.fieldnames or []
        found = {
            key: next((name for name in names if name in given), "") for key, names in PRICE_COLUMNS.items()
        }
        if not all(found.values()):
            raise InputError(path=str(path), why="it needs the columns model, input and output")
        return {
            row[found["model"]]: (float(row[found["input"]]), float(row[found["output"]]))
            for row in reader
            if row[found["input"]] and row[found["output"]]
        }


def _by_dataset(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        names = pq.read_schema(path).names
    except (OSError, ValueError) as error:
        raise InputError(path=str(path), why=f"it is no Parquet file: {error}") from None
    if missing := [name for name in NEEDED if name not in names]:
        raise InputError(path=str(path), why=f"it lacks the columns {', '.join(missing)}")
    rows = pq.read_table(path, columns=[name for name in (*NEEDED, *OPTIONAL) if name in names]).to_pylist()
    tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        tables[row["dataset"]].append(row)
    return dict(tables)


def _outcomes(
    path: Path,
    dataset: str,
    rows: list[dict[str, Any]],
    wanted: Sequence[str],
    prices: Prices,
    lengths: Lengths,
) -> Outcomes:
    graded: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)  # query -> model -> row
    for row in rows:
        if row["correct"] is not None and (not wanted or row["model"] in wanted):
            graded[row["query_id"]].setdefault(row["model"], row)
    seen = {model for by_model in graded.values() for model in by_model}
    if missing := [model for model in wanted if model not in seen]:
        raise InputError(path=str(path), why=f"{dataset} has no outcomes of {', '.join(missing)}")
    models = tuple(wanted) or tuple(sorted(seen))
    whole = [by_model for by_model in graded.values() if len(by_model) == len(models)]
    if len(whole) < 20 or len(models) < 2:
        why = f"only {len(whole)} queries of {dataset} have outcomes of all {len(models)} models"
        raise InputError(path=str(path), why=why, fix="Name models that were asked everything with --model.")
    table = [[by_model[model] for model in models] for by_model in whole]
    cost, priced = _costs(path, dataset, table, prices, lengths)
    texts = tuple(str(line[0]["text"]) for line in table)
    answer, answers = _coded([_plain(row.get("response")) for line in table for row in line])
    category, categories = _coded([line[0].get("category") for line in table])
    return Outcomes(
        dataset=dataset,
        models=models,
        texts=texts,
        observed=Observed(
            correct=_matrix(table, "correct"),
            cost=cost,
            score=_matrix(table, "confidence"),
            answer=answer.reshape(len(table), -1),
            features=np.zeros((len(texts), 0)),
            category=category,
        ),
        answers=answers,
        categories=categories,
        left_out=len(graded) - len(whole),
        priced=priced,
    )


def _matrix(table: list[list[dict[str, Any]]], column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([[row.get(column) for row in line] for line in table], dtype=np.float64)


def _coded(values: Sequence[str | None]) -> tuple[Codes, tuple[str, ...]]:
    """Equal values share a number, in order of appearance, -1 where there is none; and the value of each number."""
    known: dict[str, int] = {}
    codes = [-1 if each is None else known.setdefault(each, len(known)) for each in values]
    return np.array(codes, dtype=np.intp), tuple(known)


def _plain(response: str | None) -> str | None:
    return None if response is None else response.strip().strip(".\"'").casefold()


def _costs(
    path: Path, dataset: str, table: list[list[dict[str, Any]]], prices: Prices, lengths: Lengths
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], bool]:
    """Recorded costs, else lengths at list prices; never a mixture."""
    recorded = _matrix(table, "cost_usd")
    if not np.isnan(recorded).any():
        return recorded, False
    listed = {row["model"]: _price(prices, row["model"]) for row in table[0]}
    if unpriced := [model for model, price in listed.items() if price is None]:
        why = f"it records no cost on {dataset}, and no price is known for {', '.join(unpriced)}"
        raise InputError(path=str(path), why=why, fix="Give --prices FILE.csv with model, input and output.")
    known = {model: price for model, price in listed.items() if price is not None}
    costs = [[_cost(row, known[row["model"]], lengths) for row in line] for line in table]
    return np.array(costs, dtype=np.float64), True


def _price(prices: Prices, model: str) -> tuple[float, float] | None:
    """A dated name is priced as the model it is a date of."""
    return prices.get(model) or prices.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))


def _cost(row: dict[str, Any], price: tuple[float, float], lengths: Lengths) -> float:
    inputs, outputs = row.get("input_tokens"), row.get("output_tokens")
    if inputs is None:
        inputs = lengths.prompt + len(row["text"].encode()) / BYTES_PER_TOKEN
    return (inputs * price[0] + (lengths.output if outputs is None else outputs) * price[1]) / 1e6
