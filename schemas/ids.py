"""Names for the identifiers that travel through every room."""

from typing import NewType

JobId = NewType("JobId", str)
QueryId = NewType("QueryId", str)
CallId = NewType("CallId", str)
TierName = NewType("TierName", str)
AccountId = NewType("AccountId", str)

Generation = NewType("Generation", int)  # 1 at submit, one more with each resume
BatchIndex = NewType("BatchIndex", int)  # position of the batch in its generation, from 0
Fence = NewType("Fence", int)  # grows with each lease of a batch; a smaller one is a zombie's
Nano = NewType("Nano", int)  # 1e-9 USD
