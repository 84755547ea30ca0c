"""The pytest fixture: import it in a conftest."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import UpstreamConfig

StartUpstream = Callable[[UpstreamConfig], Upstream]


@pytest.fixture
def upstreams() -> Iterator[StartUpstream]:
    """Starts upstreams and stops them all when the test ends."""
    with ExitStack() as stack:
        yield lambda config: stack.enter_context(start_upstream(config))
