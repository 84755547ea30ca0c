"""A batch's categories, before any query is planned: rules, similarity, and a model for the uncertain rest."""

import asyncio
import logging
from collections.abc import Sequence

from msgspec.structs import replace

from pipeline.cascade.call import Caller
from pipeline.cascade.holder import CONCERNS_THE_BATCH
from pipeline.cascade.rung import Rung
from pipeline.monitoring.logs import ONCE, QUERY
from pipeline.rows import OffLedger
from pipeline.task.mask import mask
from pipeline.taxonomy.slow import read_category, slow_request
from pipeline.taxonomy.tree import ROOT
from pipeline.together import together
from pipeline.work import Work
from schemas.records import Assignment, Query

log = logging.getLogger("tierwise.categorise")


async def categorised(
    work: Work, caller: Caller, queries: Sequence[Query]
) -> tuple[list[Assignment], list[OffLedger]]:
    """Taxonomy over the whole batch; the uncertain rest is put to the slow classifier, if the spec has one."""
    if work.taxonomy is None:
        return [ROOT] * len(queries), []
    assigned = await asyncio.to_thread(work.taxonomy.classify, queries)
    slow = work.slow
    if slow is None:
        return assigned, []
    uncertain = [
        row
        for row, each in enumerate(assigned)
        if not each.familiar and queries[row].rejected is None and work.may_see(slow, each)
    ]
    said = await together([_ask_category(work, slow, caller, queries[row]) for row in uncertain])
    known = {row: each[0] for row, each in zip(uncertain, said, strict=True) if each[0] is not None}
    off_ledger = [each[1] for each in said if each[1] is not None]
    return work.taxonomy.with_slow(queries, assigned, known), off_ledger


async def _ask_category(
    work: Work, slow: Rung, caller: Caller, query: Query
) -> tuple[tuple[int, float] | None, OffLedger | None]:
    assert work.taxonomy is not None
    nodes = work.taxonomy.nodes
    text = mask(query.text, work.asking.masked)[0] if work.asking.masked else query.text
    QUERY.set(query.query_id)
    try:
        asked = await caller.ask(
            slow,
            slow_request(nodes, query, text),
            query.query_id,
            usable=lambda completion: read_category(nodes, completion) is not None,
            purpose="taxonomy",
        )
    except CONCERNS_THE_BATCH:
        raise
    except Exception as error:  # the fast classifier's word then stands
        log.warning("the slow classifier failed: %s: %s", type(error).__name__, error, extra=ONCE)
        return None, None
    known = read_category(nodes, asked.completion) if asked.completion else None
    if not slow.provider.local and not asked.reused:
        return known, None
    asked = replace(asked, purpose="taxonomy")
    return known, OffLedger(query_id=query.query_id, tier=slow.name, asked=asked, model=slow.provider.model)
