"""Any endpoint that speaks OpenAI's embeddings: a text in, a vector out, paid for like any call."""

from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.providers.http import HttpClient
from pipeline.providers.openai_door import OpenAIDoor, json_text
from schemas.ids import CallId, Nano
from schemas.money import Price, Usage, token_bound
from schemas.records import Completion, FinishReason, Reply, Request

OVERHEAD = 64  # tokens that a model adds around a text

Floats = NDArray[np.float64]


class _Said(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Datum(msgspec.Struct):
    embedding: list[float]


class _Parts(msgspec.Struct):
    """Each read by itself, so that what is wrong with one hides nothing of the other."""

    data: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()


_PARTS = msgspec.json.Decoder(_Parts)
_USAGE = msgspec.json.Decoder(_Said)
_DATA = msgspec.json.Decoder(list[_Datum])
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class OpenAIEmbeddings:
    """One model behind one endpoint; a request carries one text.

    Source: platform.openai.com/docs/api-reference/embeddings/create
    """

    local = False

    def __init__(
        self,
        *,
        tier: str,
        model: str,
        base_url: str,
        api_key_env: str | None,
        price: Price,
        http: HttpClient,
        dimensions: int,
        shortened: bool = True,
        timeout_s: float = 60.0,
    ) -> None:
        """`dimensions`: of the vectors that `read` gives; `shortened`: the endpoint is asked for such. Raises
        RemoteForbidden under the test switch."""
        self.model = model
        self._price, self._dimensions, self._shortened = price, dimensions, shortened
        self._door = OpenAIDoor(
            tier=tier,
            url=base_url.rstrip("/") + "/embeddings",
            api_key_env=api_key_env,
            http=http,
            timeout_s=timeout_s,
        )

    def check(self) -> None:
        """Raise MissingCredential, UnusableCredential or RemoteForbidden. Sends nothing."""
        self._door.check()

    def encode(self, request: Request) -> bytes:
        """Of a request only its document is sent."""
        body: dict[str, object] = {"model": self.model, "encoding_format": "float", "input": request.user}
        if self._shortened:
            body["dimensions"] = self._dimensions
        return json_text(body)

    def bound(self, request: Request) -> Nano:
        return self._price.bound(token_bound(request.user) + OVERHEAD, 0)

    async def send(self, body: bytes, key: CallId) -> Reply:
        return await self._door.send(body, key)

    def read(self, body: bytes) -> Completion:
        """`vector` of length 1, empty where the reply holds none."""
        try:
            parts = _PARTS.decode(body)
        except _UNREADABLE:
            return Completion(text="", finish_reason="malformed")
        vector = _vector(parts.data, self._dimensions)
        finish: FinishReason = "stop" if vector else "malformed"
        return Completion(text="", finish_reason=finish, usage=_usage(parts.usage), vector=vector)

    def cost(self, completion: Completion) -> Nano | None:
        """None when the reply carried no usage."""
        return None if completion.usage is None else self._price.cost(completion.usage)

    async def close(self) -> None:
        """The HTTP client is shared; whoever made it closes it."""


def _usage(raw: msgspec.Raw) -> Usage | None:
    try:
        said = _USAGE.decode(raw)
    except _UNREADABLE:
        return None
    if said.prompt_tokens is None:
        return None
    return Usage(input=max(0, said.prompt_tokens, said.total_tokens or 0))


def _vector(raw: msgspec.Raw, dimensions: int) -> bytes:
    try:
        (datum,) = _DATA.decode(raw)
    except (*_UNREADABLE, ValueError):
        return b""
    found = np.array(datum.embedding, dtype=np.float64)
    largest = np.abs(found).max(initial=0.0)
    if not 0 < largest < np.inf:
        return b""
    found /= largest
    if len(found) > dimensions:
        found = found @ _directions(len(found), dimensions)
    made = np.pad(found / np.linalg.norm(found), (0, dimensions - len(found)))
    return made.astype(np.float32).tobytes()


@lru_cache(maxsize=4)
def _directions(size: int, dimensions: int) -> Floats:
    """[size, dimensions]: random ones keep cosines (Johnson and Lindenstrauss 1984); the same in every process, by
    the generator whose stream NumPy keeps as it is."""
    return np.random.RandomState(0).standard_normal((size, dimensions))
