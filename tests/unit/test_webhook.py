"""The signature of a webhook, by the published example, and its secret."""

import base64

import pytest

from pipeline.webhook import secret_of, signature
from schemas.errors import BadSecret


def test_the_signature_is_that_of_the_specifications_example() -> None:
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    said = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("value", "why"), [("", "is not set"), ("whsec_***", "no base64"), ("whsec_c2hvcnQ=", "fewer than 24")]
)
def test_a_bad_secret_is_told_without_saying_it(
    monkeypatch: pytest.MonkeyPatch, value: str, why: str
) -> None:
    monkeypatch.setenv("HOOK_SECRET", value)
    with pytest.raises(BadSecret, match=why) as raised:
        secret_of("HOOK_SECRET")
    assert not value or value not in str(raised.value)
