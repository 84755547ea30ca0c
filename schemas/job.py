"""The job spec: what a person writes. `schemas/loading.py` reads it and reports every mistake at once."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from schemas.model import Model, name_field
from schemas.taxonomy import TaxonomySpec

Share = Annotated[float, Field(ge=0, le=1)]
Usd = Annotated[Decimal, Field(ge=0, lt=1_000_000_000, decimal_places=9)]
PROMPT_PARTS = ("instructions", "labels", "choices", "schema")


def _repeated(names: list[str]) -> str:
    return ", ".join(sorted({name for name in names if names.count(name) > 1}))


class Prompt(Model):
    template: str = Field(
        description="The system message; may hold {instructions}, {labels}, {choices}, {schema}. "
        "The document always follows as the user's message, so that prompt caches hit."
    )
    version: str = "1"

    @field_validator("template")
    @classmethod
    def _known_parts(cls, template: str) -> str:
        import string

        try:
            parts = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        except ValueError as error:
            raise ValueError(f"is no template: {error}; write {{{{ for a plain brace") from None
        if unknown := sorted(set(parts) - set(PROMPT_PARTS)):
            raise ValueError(f"has unknown parts {unknown}; known: {list(PROMPT_PARTS)}")
        try:
            template.format(**dict.fromkeys(PROMPT_PARTS, ""))
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(f"formats a part in a way that text does not have: {error}") from None
        return template


class TaskBase(Model):
    instructions: str = ""
    prompt: Prompt | None = None
    mask: list[Literal["email", "phone", "card", "iban"]] = Field(
        [],
        description="Personal data replaced before the journal and any remote call, restored in the result.",
    )
    max_output_tokens: int | None = Field(None, ge=1, description="Default: the longest label for classify.")


class Label(Model):
    name: str = Field(min_length=1, max_length=200)
    description: str = ""
    examples: list[str] = []
    min_confidence: Share | None = Field(
        None, description="Below it the answer escalates, then goes to review."
    )


def _label(value: Any) -> Any:
    return {"name": value} if isinstance(value, str | int | float | bool) else value


class ClassifyTask(TaskBase):
    kind: Literal["classify"]
    mode: Literal["single", "multi", "hierarchical"] = Field(
        "single", description='hierarchical: label names are paths, "parent/child".'
    )
    labels: list[Annotated[Label, BeforeValidator(_label, json_schema_input_type=str | Label)]] = Field(
        min_length=2
    )
    abstain: str | None = Field(None, description="The label that says: none of the others.")

    @field_validator("labels", mode="before")
    @classmethod
    def _text_names(cls, labels: Any) -> Any:
        if isinstance(labels, list) and any(isinstance(label, bool) for label in labels):
            raise ValueError("holds a YAML yes/no/true/false: put label names in quotes")
        return labels

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: list[Label]) -> list[Label]:
        if twice := _repeated([label.name.casefold() for label in labels]):
            raise ValueError(f"names a label twice: {twice}")
        return labels

    @model_validator(mode="after")
    def _abstain_is_a_label(self) -> Self:
        if self.abstain is not None and self.abstain not in [label.name for label in self.labels]:
            raise ValueError(f"abstain {self.abstain!r} is not among the labels")
        return self


class ExtractTask(TaskBase):
    kind: Literal["extract"]
    schema_: dict[str, Any] = Field(alias="schema", description="JSON Schema of the object to extract.")

    @field_validator("schema_")
    @classmethod
    def _is_object_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        from jsonschema import Draft202012Validator, SchemaError

        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"is no JSON Schema: {error.message}") from None
        if schema.get("type") != "object":
            raise ValueError("must be of type object")
        return schema


class AnswerTask(TaskBase):
    kind: Literal["answer"]
    choices: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, min_length=2, description="Multiple choice; None: free text."
    )

    @field_validator("choices")
    @classmethod
    def _choices_differ(cls, choices: list[str] | None) -> list[str] | None:
        if twice := _repeated([choice.casefold() for choice in choices or []]):
            raise ValueError(f"names a choice twice: {twice}")
        return choices


Task = Annotated[ClassifyTask | ExtractTask | AnswerTask, Field(discriminator="kind")]


class BatchSize(Model):
    rows: int = Field(1000, ge=1, le=100_000)
    bytes: int = Field(4_000_000, ge=1_000)


class Input(Model):
    path: str | list[str] = Field(description="File, glob or s3:// URL, or a list of them.")
    format: Literal["auto", "csv", "jsonl", "parquet"] = "auto"
    id: str | None = Field(None, description="Column with a unique id; None: the row's number.")
    text: str = Field("text", description="Column with the document.")
    gold: str | None = Field(None, description="Column with the right answer, for accuracy; never sent.")
    where: dict[str, str | list[str]] = Field({}, description="Keep only rows whose column has this value.")
    too_long: Literal["reject", "head", "head_tail", "split_and_vote"] = "reject"
    max_tokens: int | None = Field(
        None, ge=1, description="Longest document; default: what every tier can read."
    )
    duplicates: Literal["once", "each"] = Field("once", description="once: exact repeats are paid once.")
    batch: BatchSize = BatchSize()

    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else list(self.path)


class PriceSpec(Model):
    """USD per million tokens; `request` in USD per request."""

    input: Usd
    output: Usd
    cached_input: Usd | None = None
    cache_write: Usd | None = None
    reasoning: Usd | None = None
    request: Usd = Decimal(0)


class TierBase(Model):
    name: str = name_field()
    accept: Share = Field(0.8, description="P(correct) from which this tier's answer is believed.")
    trust: Share = Field(0.7, description="P(correct) of a valid answer that comes without a confidence.")
    max_concurrency: int = Field(64, ge=1)


class RemoteTier(TierBase):
    model: str
    price: PriceSpec | None = Field(None, description="None: from the price library.")
    timeout_s: float = Field(60, gt=0)
    retries: int = Field(4, ge=0, description="Further attempts after a 429, a 5xx or no connection.")
    context_tokens: int = Field(128_000, ge=1)
    max_output_tokens: int | None = Field(None, ge=1, description="Overrides the task's.")


def _no_secret_url(url: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("is no http(s) URL")
    if "@" in parts.netloc:
        raise ValueError("holds a credential; name its environment variable in api_key_env")
    return url.rstrip("/")


class OpenAITier(RemoteTier):
    provider: Literal["openai"]
    base_url: Annotated[str, AfterValidator(_no_secret_url)] = "https://api.openai.com/v1"
    api_key_env: str | None = Field("OPENAI_API_KEY", description="None (null): the endpoint needs no key.")
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    logprobs: bool = True
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    extra: dict[str, Any] = Field({}, description="Further fields of the request body.")


class BedrockTier(RemoteTier):
    provider: Literal["bedrock"]
    region: str | None = None
    endpoint_url: Annotated[str, AfterValidator(_no_secret_url)] | None = None


class KeywordTier(TierBase):
    provider: Literal["keyword"]
    keywords: dict[str, list[str]] | str = Field(description="label: [keywords], or a YAML file of it.")


class SimilarityTier(TierBase):
    provider: Literal["similarity"]


class SklearnTier(TierBase):
    provider: Literal["sklearn"]
    train: str = Field(description="CSV, JSONL or Parquet file of labelled examples.")
    text: str = "text"
    label: str = "label"


class RecordedTier(TierBase):
    provider: Literal["recorded"]
    outcomes: str = Field(description="Parquet file of recorded outcomes.")
    dataset: str
    model: str
    price: PriceSpec | None = Field(None, description="Used where the file records no cost.")
    retries: int = 0


Tier = Annotated[
    OpenAITier | BedrockTier | KeywordTier | SimilarityTier | SklearnTier | RecordedTier,
    Field(discriminator="provider"),
]


class Allowance(Model):
    """Shares of rows that may end so without exit code 3."""

    deferred: Share = 0
    failed: Share = 0
    rejected: Share = 0
    review: Share = 1


class Budget(Model):
    usd: Usd = Field(description="Hard cap of this job.")
    account: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$",
        description="Shared account, such as team/2026-11.",
    )
    account_usd: Usd | None = Field(None, description="Cap of the shared account, when it is new.")
    allow: Allowance = Allowance()


class Quality(Model):
    target: Annotated[float, Field(gt=0, lt=1)]
    reference: str = "gold"
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95


class TaxonomyUse(Model):
    tree: TaxonomySpec | str = Field(description="The tree, or the YAML file that holds it.")
    familiar_margin: Share = Field(0.1, description="How clear of the runner-up a familiar query is.")
    slow_tier: str | None = Field(None, description="Tier that classifies uncertain queries; None: nobody.")
    slow_weight: Share = Field(0.6, description="w in p = w·p_slow + (1-w)·p_fast.")


def _taxonomy(value: Any) -> Any:
    if isinstance(value, str):
        return {"tree": value}
    if isinstance(value, dict) and "categories" in value:
        return {"tree": value}
    return value


class Output(Model):
    lake: str | None = Field(None, description="Folder or s3:// URL; default: the settings' lake.")


class Schedule(Model):
    cron: str = Field(pattern=r"^\s*(\S+\s+){4}\S+\s*$", description="minute hour day month weekday")
    timezone: str = "UTC"


class JobSpec(Model):
    """One bulk job: documents, task, ladder of tiers (cheapest first), budget."""

    version: Literal[1] = 1
    name: str = name_field()
    task: Task
    input: Input
    tiers: list[Tier] = Field(min_length=1)
    budget: Budget
    quality: Quality | None = None
    policy: str = Field("fixed-ladder", pattern=r"^[a-z][a-z-]*(@[A-Za-z0-9.-]+)?$")
    taxonomy: (
        Annotated[
            TaxonomyUse, BeforeValidator(_taxonomy, json_schema_input_type=str | TaxonomySpec | TaxonomyUse)
        ]
        | None
    ) = None
    output: Output = Output()
    schedule: Schedule | None = None

    @field_validator("tiers")
    @classmethod
    def _tiers_differ(cls, tiers: list[Any]) -> list[Any]:
        if twice := _repeated([tier.name for tier in tiers]):
            raise ValueError(f"names a tier twice: {twice}")
        return tiers

    def tier(self, name: str) -> Any:
        return next(tier for tier in self.tiers if tier.name == name)
