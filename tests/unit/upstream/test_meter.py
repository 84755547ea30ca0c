"""The meter survives crashes and is never behind a reply."""

import asyncio
from pathlib import Path

import pytest

from tests.upstream.meter import Bill, FileMeter, MeterError, read_lines
from tests.upstream.pricing import TokenCounts


def bill(key: str, nano: int = 1) -> Bill:
    """A bill for one input token."""
    return Bill(key=key, endpoint="chat", outcome="ok", model="m", tokens=TokenCounts(input=1), nano=nano)


def open_meter(path: Path) -> FileMeter:
    """A meter whose failures fail the test."""
    return FileMeter(path, on_failure=lambda error: pytest.fail(str(error)))


async def append(meter: FileMeter, one: Bill) -> None:
    """Append, and wait until it is durable."""
    durable = asyncio.get_running_loop().create_future()
    meter.append(one, lambda: durable.set_result(None))
    await durable


async def test_a_line_is_in_the_file_once_it_is_called_durable(tmp_path: Path) -> None:
    meter = open_meter(tmp_path / "meter.jsonl")

    await append(meter, bill("k"))

    (line,), _ = read_lines(tmp_path / "meter.jsonl")
    assert (line.seq, line.key, line.input, line.nano) == (1, "k", 1, 1)
    meter.close()


async def test_equal_keys_are_billed_again_and_in_order(tmp_path: Path) -> None:
    meter = open_meter(tmp_path / "meter.jsonl")

    await asyncio.gather(*(append(meter, bill("same", nano)) for nano in range(100)))

    lines, _ = read_lines(tmp_path / "meter.jsonl")
    assert [line.seq for line in lines] == list(range(1, 101))
    assert meter.total_nano == sum(line.nano for line in lines) == sum(range(100))
    meter.close()


async def test_lines_still_waiting_are_written_at_the_close(tmp_path: Path) -> None:
    meter = open_meter(tmp_path / "meter.jsonl")
    meter.append(bill("late"), lambda: None)

    meter.close()

    assert [line.key for line in read_lines(tmp_path / "meter.jsonl")[0]] == ["late"]


async def test_a_restart_goes_on_counting_and_drops_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "meter.jsonl"
    meter = open_meter(path)
    await append(meter, bill("one", 5))
    meter.close()
    with path.open("ab") as file:
        file.write(b'{"seq":2,"ti')

    meter = open_meter(path)
    await append(meter, bill("two", 7))

    assert [(line.seq, line.key) for line in read_lines(path)[0]] == [(1, "one"), (2, "two")]
    assert meter.total_nano == 12
    meter.close()


async def test_two_upstreams_cannot_share_a_meter(tmp_path: Path) -> None:
    meter = open_meter(tmp_path / "meter.jsonl")

    with pytest.raises(MeterError, match="its own"):
        open_meter(tmp_path / "meter.jsonl")
    meter.close()
