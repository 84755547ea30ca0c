"""The recorded outcomes, where they are at hand."""

from collections.abc import Callable
from pathlib import Path

import aiohttp
import pyarrow.parquet as pq

from tests.upstream.config import config_from
from tests.upstream.fixture import StartUpstream
from tests.upstream.outcomes import OutcomeAnswers


def test_every_recorded_text_is_answered_with_a_recorded_response(recorded: Callable[[str], Path]) -> None:
    path = recorded("outcomes_finance5.parquet")
    table = pq.read_table(path, columns=["text", "model", "response"]).to_pylist()

    answers = OutcomeAnswers(path)

    for row in table:
        found = answers.find(row["model"], f"Label it.\n<document>\n{row['text']}\n</document>")
        assert found is not None
        assert found.content == row["response"]


async def test_a_recorded_confidence_comes_back_as_a_logprob(
    recorded: Callable[[str], Path], upstreams: StartUpstream
) -> None:
    path = recorded("outcomes_cascades9_train.parquet")
    columns = ["dataset", "text", "model", "response", "confidence", "input_tokens"]
    rows = pq.read_table(path, columns=columns, filters=[("dataset", "=", "cascades/mmlu")]).to_pylist()
    row = next(row for row in rows if row["model"] == "gpt-4o")
    upstream = upstreams(
        config_from({"outcomes": str(path), "dataset": ["mmlu"], "models": ["gpt-4o"], "free": True})
    )
    message = {"role": "user", "content": row["text"]}
    body = {"model": "gpt-4o", "messages": [message], "logprobs": True}

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{upstream.url}/chat/completions", json=body) as http,
    ):
        reply = await http.json()

    choice = reply["choices"][0]
    assert choice["message"]["content"] == row["response"]
    assert reply["usage"]["prompt_tokens"] == row["input_tokens"]
    assert choice["logprobs"]["content"][0]["logprob"] <= 0
