"""The rows drawn for a certificate, on their way through the lake."""

import io

import pyarrow.parquet as pq

from pipeline.certify.draw import Draw
from pipeline.ports.storage import Storage
from pipeline.rows import documents_table, read_documents
from schemas import lake
from schemas.ids import Generation, JobId
from schemas.records import Query


async def write_drawn(storage: Storage, job: JobId, draw: Draw[Query]) -> None:
    """Those of the pilot first."""
    rows = documents_table(job, Generation(1), [*draw.pilot, *draw.audit])
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    await storage.write(lake.drawn(job), sink.getvalue())


async def read_drawn(storage: Storage, job: JobId) -> list[Query]:
    data = await storage.read(lake.drawn(job))
    return read_documents(pq.ParquetFile(io.BytesIO(data)).read())
