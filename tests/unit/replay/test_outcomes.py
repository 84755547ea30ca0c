from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.replay.outcomes import Lengths, Outcomes, coded_like, read_outcomes, read_prices
from schemas.errors import InputError


def rows(count: int = 30, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "dataset": "d",
            "query_id": f"q{n}",
            "text": f"text {n}",
            "model": model,
            "correct": float(n % 2),
            **more,
        }
        for n in range(count)
        for model in ("a", "b")
    ]


def write(folder: Path, table: list[dict[str, Any]]) -> Path:
    path = folder / "outcomes.parquet"
    pq.write_table(pa.Table.from_pylist(table), path)
    return path


def test_recorded_costs_and_scores_are_taken_as_they_are(tmp_path: Path) -> None:
    [one] = read_outcomes(write(tmp_path, rows(cost_usd=0.25, confidence=0.5)))
    assert (one.dataset, one.models, one.priced, one.left_out) == ("d", ("a", "b"), False, 0)
    assert one.observed.cost.sum() == 30 * 2 * 0.25
    assert (one.observed.score == 0.5).all()
    assert one.observed.correct[:2].tolist() == [[0, 0], [1, 1]]


def test_costs_from_prices_and_lengths(tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("model,input,output\na,1.0,2.0\nb-x,1.0,2.0\nb,10.0,20.0\n")
    table = [{**row, "text": "abcd", "model": {"a": "a-2025-04-14"}.get(row["model"], "b")} for row in rows()]
    [one] = read_outcomes(
        write(tmp_path, table), prices=read_prices(prices), lengths=Lengths(prompt=9, output=5)
    )
    assert one.priced
    assert one.observed.cost[0].tolist() == [20e-6, 200e-6]


def test_a_query_that_a_model_was_not_asked_is_left_out(tmp_path: Path) -> None:
    [one] = read_outcomes(write(tmp_path, rows(cost_usd=1.0)[:-1]))
    assert (len(one.observed), one.left_out) == (29, 1)


@pytest.mark.parametrize(
    ("table", "options", "says"),
    [
        (rows(), {}, "no price is known for a, b"),
        (rows(cost_usd=1.0), {"models": ["a", "z"]}, "no outcomes of z"),
        (rows(cost_usd=1.0), {"datasets": ["e"]}, "no dataset e"),
        (rows(3, cost_usd=1.0), {}, "only 3 queries"),
        ([{"text": "t"}], {}, "lacks the columns dataset, query_id, model, correct"),
    ],
)
def test_what_is_missing_is_named(
    table: list[dict[str, Any]], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says):
        read_outcomes(write(tmp_path, table), **options)


def test_answers_and_categories_are_coded(tmp_path: Path) -> None:
    said = {"a": "'Paris.", "b": "paris"}
    table = [
        {**row, "response": said[row["model"]], "category": row["query_id"]} for row in rows(cost_usd=1.0)
    ]
    [one] = read_outcomes(write(tmp_path, table))
    assert (one.observed.answer == 0).all()
    assert one.observed.category.tolist() == list(range(30))


def test_answers_and_categories_have_the_same_codes_as_in_the_fitting_outcomes(tmp_path: Path) -> None:
    def outcomes(said: list[str]) -> Outcomes:
        table = [
            {**row, "response": said[n % len(said)], "category": said[n % len(said)]}
            for n, row in enumerate(each for each in rows(cost_usd=1.0) if each["model"] == "a")
        ] + [row for row in rows(cost_usd=1.0) if row["model"] == "b"]
        return read_outcomes(write(tmp_path, table))[0]

    # Given a label that is code 0 in the fitting outcomes and comes second in others, after one not seen there
    fitting, other = outcomes(["yes", "no"]), outcomes(["perhaps", "yes", "no"])
    found = coded_like(other, fitting).observed
    # Then its code is the fitting outcomes' own, and the new one's is past them all; none stays none
    assert found.answer[:3].tolist() == [[2, -1], [0, -1], [1, -1]]
    assert found.category[:3].tolist() == [2, 0, 1]
