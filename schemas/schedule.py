"""When a job runs by itself, and what hears of its end."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator, model_validator

from schemas.model import Model, variable
from schemas.secrets import holds_secret


def _receiver(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no http(s) URL")
    if "@" in parts.netloc or holds_secret(url):
        raise ValueError("holds a credential; the receiver knows us by the signature")
    return url


class Schedule(Model):
    """Added by `tierwise schedule add`; fired by workers and beat, or by `tierwise schedule run`."""

    cron: str = Field(
        description="minute hour day month weekday, as Debian's cron reads them: a fixed time that the clocks skip in "
        "spring runs right after, one that they repeat in autumn runs once."
    )
    timezone: str = Field("UTC", description="Name of the IANA time zone, such as Europe/Zurich.")
    missed: Literal["catch_up", "latest", "skip"] = Field(
        "latest",
        description="Occurrences that came due while nobody looked. catch_up: each runs, one after the other, at most "
        "the latest 100; latest: the last one; skip: none.",
    )
    grace_s: float = Field(
        300, ge=0, description="With `missed: skip`: one that is seen no later than this is not missed."
    )
    overlap: Literal["wait", "skip"] = Field(
        "wait",
        description="While the schedule's job before is not closed: wait until it is, or skip the occurrence.",
    )
    incremental: bool = Field(
        False,
        description="Only rows whose text no earlier job of this schedule has answered under the same prompt, by id "
        "and content. Deferred, cancelled and failed ones come again.",
    )

    @field_validator("cron")
    @classmethod
    def _fires(cls, cron: str) -> str:
        from cronsim import CronSim, CronSimError

        if len(cron.split()) != 5:
            raise ValueError("has five fields: minute hour day month weekday, such as `0 2 * * *`")
        try:
            next(CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            raise ValueError(f"is no cron expression: {error}; such as `0 2 * * *`, daily at 2:00") from None
        except StopIteration:
            raise ValueError("names a day that never comes") from None
        return cron

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, KeyError):
            raise ValueError(f"{name!r} is no IANA time zone; write one such as Europe/Zurich") from None
        return name

    @model_validator(mode="after")
    def _catches_up_in_turn(self) -> Self:
        if self.missed == "catch_up" and self.overlap == "skip":
            raise ValueError("`missed: catch_up` runs one after the other: it needs `overlap: wait`")
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Webhook(Model):
    """Told when a job closes: a POST signed after the Standard Webhooks specification
    (https://www.standardwebhooks.com)."""

    url: Annotated[str, AfterValidator(_receiver)]
    secret_env: Annotated[str, AfterValidator(variable)] = Field(
        description="The environment variable that holds the signing secret, whsec_… (24 to 64 bytes in base64)."
    )
