"""What a provider says of our own key goes no further: not into the journal, the tables or a log."""

import msgspec

from schemas.records import Reply
from schemas.secrets import Concealer


def conceal(reply: Reply, concealer: Concealer) -> Reply:
    """The reply, with "***" where it repeats a secret. The journal then holds the same bytes that were read, so a
    redelivery reads the same answer; nothing that is billed or judged hangs on the bytes left out."""
    body, error = concealer.body(reply.body), concealer.text(reply.error)
    if body is reply.body and error == reply.error:
        return reply
    return msgspec.structs.replace(reply, body=body, error=error)
