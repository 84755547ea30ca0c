"""`python -m tests.upstream`: serve until told to stop; prints one JSON line when listening."""

import argparse
import asyncio
import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from tests.upstream.answers import Answers, OutcomesError
from tests.upstream.chaos import KINDS, ChaosError
from tests.upstream.config import ConfigError, UpstreamConfig, config_from, read_config
from tests.upstream.doors import Doors
from tests.upstream.meter import FileMeter, Meter, MeterError, NoMeter
from tests.upstream.pricing import Price, PriceError, price_models
from tests.upstream.replies import Replies
from tests.upstream.rule import DefaultAnswer, EchoLabel, FreeText
from tests.upstream.server import Service

EXIT_REFUSED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Start, or say why not and exit with 2."""
    try:
        config = _config(argv)
        answers = _answers(config)
        prices = _prices(config, answers)
        _run(_serve(config, answers, prices))
    except (ConfigError, ChaosError, PriceError, OutcomesError, MeterError, OSError) as error:
        print(f"upstream: {error}", file=sys.stderr)
        return EXIT_REFUSED
    return 0


def _config(argv: Sequence[str] | None) -> UpstreamConfig:
    given = vars(_parser().parse_args(argv))
    path = given.pop("config", None)
    config = config_from({**(read_config(Path(path)) if path else {}), **given})
    if config.meter is None and not config.no_meter:
        raise ConfigError("name a meter file, or say no_meter")
    return config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.upstream",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        description=__doc__,
    )
    add = parser.add_argument
    add("--config", metavar="FILE", help="JSON of options; options given here win")
    for name in ("host", "outcomes", "default-answer", "fixed-reply", "prices", "meter", "api-key"):
        add(f"--{name}")
    add("--rule", choices=["echo-label", "free-text"])
    for name in ("port", "seed", "error-status", "burst", "cached-prefix-tokens", "overbill-tokens"):
        add(f"--{name}", type=int)
    for name in ("latency-ms", "jitter-ms", "retry-after-s", "rate-limit-rps"):
        add(f"--{name}", type=float)
    for name in ("dataset", "models", "labels", "embedding-models"):
        add(f"--{name}", type=_names, metavar="A,B")
    add("--script", type=_names, metavar="KIND,KIND", help="kinds of the first requests, 'ok' among them")
    add("--shares", type=_table(float), metavar="KIND=SHARE,…", help=f"kinds: {', '.join(KINDS[1:])}")
    add("--accuracy", type=_table(float), metavar="MODEL=SHARE,…")
    add("--model-latency-ms", type=_table(float), metavar="MODEL=MS,…")
    add("--reasoning-tokens", type=_table(int), metavar="MODEL=N,…")
    for name in ("free", "no-meter", "bill-500", "exit-with-stdin"):
        add(f"--{name}", action="store_true")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _table(kind: Callable[[str], Any]) -> Callable[[str], dict[str, Any]]:
    def parse(text: str) -> dict[str, Any]:
        pairs = (item.rpartition("=") for item in _names(text))
        return {name: kind(value) for name, _, value in pairs}

    return parse


def _answers(config: UpstreamConfig) -> Answers | None:
    answers: Answers
    if config.outcomes is not None:
        # Late, since pyarrow takes longer to import than all the rest takes to start.
        from tests.upstream.outcomes import OutcomeAnswers

        answers = OutcomeAnswers(Path(config.outcomes), datasets=config.dataset, models=config.models)
    elif config.rule is not None:
        rule = FreeText if config.rule == "free-text" else EchoLabel
        answers = rule(labels=config.labels, accuracy=config.accuracy, seed=config.seed)
    else:
        return None
    return answers if config.default_answer is None else DefaultAnswer(answers, config.default_answer)


def _prices(config: UpstreamConfig, answers: Answers | None) -> dict[str, Price]:
    entries = config.price_entries()
    chat = answers.models if answers is not None else config.models or tuple(entries)
    return price_models((*chat, *config.embedding_models), entries, free=config.free)


def _run(serving: Coroutine[None, None, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


async def _serve(config: UpstreamConfig, answers: Answers | None, prices: dict[str, Price]) -> None:
    _allow_many_sockets()
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _resolve, stopped)
    meter = _meter(config, stopped)
    doors = Doors(config.host, config.port)
    replies = Replies(config, answers=answers, prices=prices)
    service = Service(config, replies=replies, prices=prices, meter=meter, set_down=doors.set_down)
    public, control = await doors.open(service)
    if config.exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _resolve, stopped)
    # The answers live as long as the process; collecting among them would cost more than serving.
    gc.freeze()
    ready = {"url": f"{public}/v1", "control": f"{control}/control", "pid": os.getpid()}
    print(json.dumps(ready), flush=True)
    try:
        await stopped
    finally:
        doors.close()
        meter.close()


def _meter(config: UpstreamConfig, stopped: "asyncio.Future[None]") -> Meter:
    if config.meter is None:
        return NoMeter()
    return FileMeter(Path(config.meter), on_failure=lambda error: _fail(stopped, error))


def _resolve(stopped: "asyncio.Future[None]") -> None:
    if not stopped.done():
        stopped.set_result(None)


def _fail(stopped: "asyncio.Future[None]", error: BaseException) -> None:
    """A server that cannot meter ends: an unmetered answer would make the judge wrong."""
    if not stopped.done():
        stopped.set_exception(MeterError(f"the meter cannot be written: {error}"))


def _allow_many_sockets() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
