"""The models that an endpoint lists: a request that costs nothing and shows whether key and model are known.
API: GET {base_url}/models (platform.openai.com/docs/api-reference/models/list)."""

import os

import aiohttp

from schemas.finding import Finding, graded
from schemas.job import JobSpec, OpenAITier

TIMEOUT_S = 10.0
TRY = "Try it: tierwise run JOB.yaml --limit 1"


async def check_models(spec: JobSpec) -> list[Finding]:
    """One request for each endpoint and key."""
    places: dict[tuple[str, str], list[str]] = {}
    for tier in spec.tiers:
        if isinstance(tier, OpenAITier):
            places.setdefault((tier.base_url, tier.api_key_env or ""), []).append(tier.model)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return [await _ask(session, url, key, models) for (url, key), models in places.items()]


async def _ask(session: aiohttp.ClientSession, url: str, variable: str, models: list[str]) -> Finding:
    name = f"online {url}"
    key = os.environ.get(variable, "").strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with session.get(f"{url.rstrip('/')}/models", headers=headers, allow_redirects=False) as reply:
            status = reply.status
            listed = {each["id"] for each in (await reply.json())["data"]} if status == 200 else set()
    except (aiohttp.ClientError, TimeoutError) as error:
        fix = "Check base_url, proxy and network."
        return Finding(name=name, state="failed", said=type(error).__name__, fix=fix, exit_code=5)
    except (KeyError, TypeError, ValueError):
        return graded(name, "it answers, but not with a list of models", True, TRY)
    if status in (401, 403):
        fix = f"Check what {variable or 'its key'} holds."
        return Finding(
            name=name, state="failed", said=f"HTTP {status}: the key is refused", fix=fix, exit_code=2
        )
    if status != 200:
        return graded(name, f"HTTP {status} to GET /models", True, TRY)
    missing = sorted(set(models) - listed)
    said = f"it takes the key and lists {', '.join(sorted(set(models) & listed)) or 'other models'}"
    said += f"; it does not list {', '.join(missing)}" if missing else ""
    return graded(name, said, bool(missing), "Correct `model`, if it is none of the endpoint's own names.")
