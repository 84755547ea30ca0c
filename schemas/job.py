"""The job spec: what a person writes. `schemas/loading.py` reads it and reports every mistake at once."""

from collections.abc import Container
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from schemas.model import Model, name_field, variable
from schemas.schedule import Schedule, Webhook
from schemas.secrets import find_secrets, names_secret
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


class Limits(Model):
    """What the provider allows; held together by all workers and jobs that ask the same model there."""

    requests_per_minute: int | None = Field(None, ge=1, le=60_000_000)
    tokens_per_minute: int | None = Field(None, ge=1, description="Input and output together.")


class RemoteTier(TierBase):
    model: str
    price: PriceSpec | None = Field(None, description="None: from the price library.")
    timeout_s: float = Field(60, gt=0)
    retries: int = Field(4, ge=0, description="Further attempts after a 429, a 5xx or no connection.")
    limits: Limits = Field(Limits(), description="Left out: learned from the provider's 429s.")
    when_down: Literal["wait", "skip"] = Field(
        "wait",
        description="wait: queries that need this tier while it is down wait for it, then are deferred with the best "
        "answer so far. skip: they go on to the next tier at once, which costs its price: a ladder's upper tiers are "
        "the dear ones, so an outage of a cheap tier would spend a budget that was made for it.",
    )
    patience_s: float = Field(
        300, ge=0, description="How long after a tier went down queries wait for it; for when_down: wait."
    )
    context_tokens: int = Field(128_000, ge=1)
    max_output_tokens: int | None = Field(None, ge=1, description="Overrides the task's.")


def _no_secret_url(url: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("is no http(s) URL")
    if "@" in parts.netloc:
        raise ValueError("holds a credential; name its environment variable in api_key_env")
    if parts.query or parts.fragment:
        raise ValueError("ends in a query; further fields of a request go into extra")
    return url.rstrip("/")


class OpenAIEndpoint(Model):
    provider: Literal["openai"]
    base_url: Annotated[str, AfterValidator(_no_secret_url)] = "https://api.openai.com/v1"
    api_key_env: Annotated[str, AfterValidator(variable)] | None = Field(
        "OPENAI_API_KEY", description="None (null): the endpoint needs no key."
    )


class OpenAITier(OpenAIEndpoint, RemoteTier):
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    logprobs: bool = True
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    extra: dict[str, Any] = Field({}, description="Further fields of the request body.")

    @field_validator("extra")
    @classmethod
    def _no_secret_field(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if found := [name for name in extra if names_secret(name)]:
            raise ValueError(f"holds a credential in {', '.join(found)}; name its variable in api_key_env")
        return extra


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


class StudentTier(TierBase):
    """A small classifier, trained in this process on the answers that closed jobs of the same task accepted."""

    provider: Literal["student"]
    accept: Share = Field(0.95, description="P(correct) from which this tier's answer is believed.")
    learns_from: int = Field(300, ge=50, description="Answers it needs before it gives any.")
    kept_from: Share = Field(
        0.05,
        description="Share of the queries, drawn by their text, that it gives no answer to: it is judged on queries "
        "that no student chose, else on hard ones alone.",
    )


class RecordedTier(TierBase):
    provider: Literal["recorded"]
    outcomes: str = Field(description="Parquet file of recorded outcomes.")
    dataset: str
    model: str
    price: PriceSpec | None = Field(None, description="Used where the file records no cost.")
    retries: int = 0


Tier = Annotated[
    OpenAITier | BedrockTier | KeywordTier | SimilarityTier | SklearnTier | StudentTier | RecordedTier,
    Field(discriminator="provider"),
]


class Allowance(Model):
    """Shares of rows that may end so without exit code 3."""

    deferred: Share = 0
    failed: Share = 0
    rejected: Share = 0
    review: Share = 1


class Periods(Model):
    """What all jobs together may spend in a period, by the schedule's time zone. A job counts to the periods in which
    it is submitted."""

    day: Usd | None = None
    week: Usd | None = Field(None, description="From Monday on (ISO 8601).")
    month: Usd | None = None
    rollover: Literal["none", "unused"] = Field(
        "none", description="unused: what the last such period with a job has left is added to the next one."
    )
    up_to: Usd | None = Field(None, description="The most that is added; default: the period's own amount.")

    @model_validator(mode="after")
    def _some_period(self) -> Self:
        if self.day is None and self.week is None and self.month is None:
            raise ValueError("names no period: give `day`, `week` or `month`, in USD")
        if self.up_to is not None and self.rollover == "none":
            raise ValueError("`up_to` limits `rollover: unused`")
        return self


class Budget(Model):
    usd: Usd = Field(description="Hard cap of this job.")
    per: Periods | None = Field(
        None,
        description="Caps by day, week and month, shared by the jobs of the schedule, or by all that name the same "
        "`account`.",
    )
    account: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$",
        description="Shared account, such as team/2026-11.",
    )
    account_usd: Usd | None = Field(None, description="Cap of the shared account, when it is new.")
    when_short: Literal["best_gain", "first_come"] = Field(
        "best_gain",
        description="Where the money goes that does not suffice. best_gain: within each batch, to the calls with the "
        "highest expected gain in P(correct) per dollar; first_come: in the order of the file. What is not "
        "bought is deferred and keeps its best answer so far.",
    )
    allow: Allowance = Allowance()

    @model_validator(mode="after")
    def _one_cap_for_the_account(self) -> Self:
        if self.per is not None and self.account_usd is not None:
            raise ValueError(
                "`account_usd` is a cap for good; with `per` the periods have theirs: remove one"
            )
        return self


def _knows_the_task_alone(prompt: str | None) -> str | None:
    try:
        (prompt or "").format(task="")
    except (ValueError, KeyError, IndexError, AttributeError):
        raise ValueError("may hold {task} alone; write {{ for a plain brace") from None
    return prompt


class AgreementJudge(Model):
    """Tells whether two answers in free text say the same: what the certificate counts is its word."""

    tier: str = Field(description="The language model that is asked: one of the tiers, up to the reference.")
    prompt: Annotated[str | None, AfterValidator(_knows_the_task_alone)] = Field(
        None,
        description="The judge's system message; may hold {task}, what the answering tiers are told. Document, the two "
        "answers and the two verdicts to choose from always follow as the user's message.",
    )
    order: Literal["keyed", "both"] = Field(
        "keyed",
        description="Models favour what stands first. keyed: which answer and which verdict stand first goes by a hash "
        "of document and answers; both: both orders are asked, at twice the price, and have to say the same.",
    )
    answer_chars: int = Field(
        4000, ge=20, description="Of the longest answer it is shown; a longer one agrees word for word alone."
    )


def _agreement_judge(value: Any) -> Any:
    return {"tier": value} if isinstance(value, str) else value


class PerLabel(Model):
    """A claim for each label, beside the one for the whole job: of the rows answered with it, so many agree with the
    reference. When all rows are answered, some of each label's are drawn and asked of the reference alone."""

    target: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Share of a label's rows that are to agree. None: the job's target."
    )
    audit: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Rows drawn from each label's at the end. Those whose reference answer is known by then count too, "
        "undrawn.",
    )


def _per_label(value: Any) -> Any:
    return {"audit": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Quality(Model):
    """A promise about the whole job. A draw of its rows is asked of every tier up to the reference; the cheapest plan
    that it certifies is what the rest of the job runs under, in place of the tiers' `accept`. Where no plan can be
    certified, the job ends there. Without a target nothing is promised: the audit measures how often the answers agree
    with the reference, and judges what the policy learns."""

    target: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Share of the rows whose answer is to agree with the reference. None: measure it."
    )
    reference: str = Field(
        "gold",
        description="gold: the input's gold column. human: people, who label the audit rows once the job is closed "
        "(`tierwise review`), without seeing its answers; the one plan that is tested is the ladder with its own "
        "`accept`, and no row is asked anything for the audit. Or the name of a tier; for a target, the tiers above it "
        "are not asked.",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        0.95, description="At most 1 - confidence of the certificates issued so are wrong."
    )
    audit: int = Field(600, ge=1, le=100_000, description="Rows drawn to test plans, or to measure.")
    pilot: int = Field(
        200,
        ge=1,
        le=100_000,
        description="For a target: other rows, drawn to find the plans worth a test. Where the reference stands above "
        "a single tier none are needed, and these are audited too.",
    )
    repeats: int = Field(
        0,
        ge=0,
        description="Audited rows that a reference tier is asked about once more, to tell how often it agrees with "
        "itself.",
    )
    off_plan: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Share of the rows that may end without an answer under the plan (deferred, say). They count as "
        "disagreeing: plans are tested against target + off_plan. With people as the reference the drawn rows count as "
        "they ended, so the plan is tested against the target.",
    )

    judge: (
        Annotated[
            AgreementJudge,
            BeforeValidator(_agreement_judge, json_schema_input_type=str | AgreementJudge),
        ]
        | None
    ) = Field(
        None,
        description="For an answer in free text: the tier that is asked whether an answer says what the reference "
        "says. A pair without a verdict disagrees.",
    )
    per_label: (
        Annotated[PerLabel, BeforeValidator(_per_label, json_schema_input_type=int | PerLabel)] | None
    ) = Field(
        None,
        description="Certify each label by itself too; a number is that of rows to draw. At most 1 - confidence of the "
        "jobs so certified claim too much of any label; the claim for the whole job has its own 1 - confidence.",
    )

    @property
    def label_target(self) -> float:
        """What each label has to reach."""
        assert self.per_label is not None
        return self.per_label.target or self.target or 0.0

    @property
    def bar(self) -> float:
        """What a plan has to reach, where there is a target."""
        return round((self.target or 0.0) + self.off_plan, 9)

    @property
    def asks(self) -> bool:
        """Whether the drawn rows are asked of every tier: for people the answers they had anyway are enough."""
        return self.reference != "human"

    @property
    def fitted(self) -> int:
        """Rows drawn to find plans."""
        return self.pilot if self.target is not None and self.asks else 0

    @property
    def drawn(self) -> int:
        """Rows asked of every tier, if the job has as many."""
        return self.fitted + self.audit if self.asks else 0

    @model_validator(mode="after")
    def _bar_is_a_share(self) -> Self:
        if self.bar >= 1:
            raise ValueError(f"target + off_plan is {self.bar:g}; no plan reaches 1 or more")
        if self.per_label is not None and not self.label_target:
            raise ValueError("per_label needs a target: its own, or the job's")
        return self


class TaxonomyUse(Model):
    tree: TaxonomySpec | str = Field(description="The tree, or the YAML file that holds it.")
    familiar_margin: Share = Field(0.1, description="How clear of the runner-up a familiar query is.")
    slow_tier: str | None = Field(None, description="Tier that classifies uncertain queries; None: nobody.")
    slow_weight: Share = Field(0.6, description="w in p = w·p_slow + (1-w)·p_fast.")


class EmbeddingPrice(Model):
    """USD per million input tokens; `request` in USD per request."""

    input: Usd
    request: Usd = Decimal(0)


class EndpointEncoder(OpenAIEndpoint):
    """A text's meaning as an endpoint's embeddings say it; each text is paid for once, in whatever job it stands."""

    model: str
    price: EmbeddingPrice | None = Field(None, description="None: from the price library.")
    dimensions: int = Field(64, ge=2, le=512, description="Length of the vectors that routing works with.")
    shortened: bool = Field(
        True,
        description="The endpoint is asked for vectors of this length. false: it knows no `dimensions`; its vectors "
        "are projected onto so many.",
    )
    context_tokens: int = Field(8_191, ge=1, description="What it reads of a text; the rest is left out.")
    max_concurrency: int = Field(64, ge=1)
    timeout_s: float = Field(60, gt=0)
    retries: int = Field(4, ge=0, description="Further attempts after a 429, a 5xx or no connection.")
    limits: Limits = Field(Limits(), description="Left out: learned from the provider's 429s.")


Encoder = Annotated[
    Annotated[Literal["hashing", "minilm"], Tag("name")] | Annotated[EndpointEncoder, Tag("endpoint")],
    Discriminator(lambda value: "endpoint" if isinstance(value, dict | EndpointEncoder) else "name"),
]


class PolicyUse(Model):
    name: str = Field(
        pattern=r"^[a-z][a-z-]*(@[A-Za-z0-9.-]+)?$",
        description="NAME, or NAME@VERSION to stay with a version.",
    )
    epsilon: Share | None = Field(
        None, description="Share of queries that explore with any plan; default: the policy's own."
    )
    alpha: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Optimism of linucb and metallm; default: the policy's own."
    )
    gamma: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="What earlier rewards weigh after each update."
    )
    seed: int = Field(0, description="Of exploration and sampling.")
    encoder: Encoder = Field(
        "hashing",
        description="What routing sees of a text: its words, its meaning (pip install 'tierwise[minilm]'), or the "
        "embeddings of an endpoint.",
    )
    value_usd: Annotated[Usd, Field(gt=0)] | None = Field(
        None,
        description="What one more right answer may cost; default: found anew by each version, so that no fewer "
        "answers are right than on the whole ladder.",
    )

    profile: Share = Field(
        0.1,
        description="Share of queries that begin with a tier of which the promoted version has seen hardly any graded "
        "answers, such as a new one, until it has.",
    )
    replan: bool = Field(
        False,
        description="After each answer that is not believed, plan the rest again: other tiers, or none. Never where "
        "`quality` is set.",
    )
    fuse: bool = Field(
        True,
        description="The answers paid for vote on the one that stands, each by how sure it is. Never where "
        "`quality` is set, nor on the fixed ladder.",
    )
    update_every: int = Field(
        20,
        ge=1,
        description="Batches after which rewards update the policy; at the job's end they always do.",
    )

    @property
    def kind(self) -> str:
        return self.name.split("@")[0]

    @property
    def version(self) -> str | None:
        """The one to stay with."""
        return self.name.partition("@")[2] or None


def _policy(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _taxonomy(value: Any) -> Any:
    if isinstance(value, str):
        return {"tree": value}
    if isinstance(value, dict) and "categories" in value:
        return {"tree": value}
    return value


class PlainJudge(Model):
    """Costs nothing. valid: the reply parses; confidence: the tier's own word; agreement: of the tiers asked before."""

    name: Literal["valid", "confidence", "agreement"]


class PayingJudgeBase(Model):
    tier: str = Field(description="The language model that is asked: one of the tiers.")
    band: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Asked only where the other judges leave P(correct) this near to the threshold. None (null): of "
        "every answer.",
    )


class SelfConsistencyJudge(PayingJudgeBase):
    """The share of samples of a cheap tier that give the same answer."""

    name: Literal["self-consistency"]
    samples: int = Field(5, ge=1, le=40, description="Calls of the tier for each answer that is judged.")
    temperature: float = Field(0.7, gt=0, le=2)
    band: Annotated[float, Field(gt=0, le=1)] | None = Field(0.15, description="As of every judge that asks.")


class ModelGradedJudge(PayingJudgeBase):
    """A model's verdict on whether the answer is right for the document."""

    name: Literal["model-graded"]
    prompt: Annotated[str | None, AfterValidator(_knows_the_task_alone)] = Field(
        None,
        description="The judge's system message; may hold {task}, what the answering tiers are told. Document, answer "
        "and the two verdicts to choose from always follow as the user's message.",
    )
    order: Literal["keyed", "both"] = Field(
        "keyed",
        description='Models favour what stands first. keyed: "right" stands first or second by a hash of document and '
        "answer; both: both orders are asked, at twice the price, and their scores averaged.",
    )
    answer_chars: int = Field(
        1000,
        ge=20,
        description="Models favour length: no more of an answer is shown, and none of its reasoning.",
    )


class StudentJudge(Model):
    """The probability that a small classifier gives to the answer, taught as a student tier is. A student is a tier or
    a judge, never both."""

    name: Literal["student"]
    learns_from: int = Field(300, ge=50, description="Answers it needs before it judges any.")
    kept_from: Share = Field(
        0.05,
        description="Share of the queries, drawn by their text, that it does not judge: who is to be taught is judged "
        "on queries that no student had a say in.",
    )


def _judge(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Judge = Annotated[
    PlainJudge | SelfConsistencyJudge | ModelGradedJudge | StudentJudge, Field(discriminator="name")
]
JUDGES = ("valid", "confidence", "agreement")


class HistoryUse(Model):
    """What earlier jobs were answered, used again."""

    reuse: Literal["exact", "none"] = Field(
        "exact",
        description="exact: what an earlier job asked of the same model at the same endpoint, byte for byte (prompt, "
        "parameters, document), is not asked again and costs nothing. none: every answer is asked for anew.",
    )
    max_age_days: float | None = Field(
        30,
        gt=0,
        description="No older answers: a model may change behind its name. None (null): of any age.",
    )
    near_duplicates: Annotated[float, Field(gt=0.5, le=1)] | None = Field(
        None,
        description="For classify: a document whose words are this much like another's (cosine) gets a copy of its "
        "answer, within a batch and from closed jobs of the same task. None: never.",
    )
    examples: int = Field(
        0,
        ge=0,
        le=20,
        description="So many of the most similar documents of closed jobs of the same task are shown to the models "
        "with their answers.",
    )

    @property
    def looks_back(self) -> bool:
        return self.near_duplicates is not None or self.examples > 0


def _history(value: Any) -> Any:
    return {"reuse": value} if isinstance(value, str) else value


class Output(Model):
    lake: str | None = Field(None, description="Folder or s3:// URL; default: the settings' lake.")


class JobSpec(Model):
    """One bulk job: documents, task, ladder of tiers (cheapest first), budget."""

    version: Literal[1] = 1
    name: str = name_field()
    task: Task
    input: Input
    tiers: list[Tier] = Field(min_length=1)
    budget: Budget
    quality: Quality | None = None
    policy: Annotated[PolicyUse, BeforeValidator(_policy, json_schema_input_type=str | PolicyUse)] = (
        PolicyUse(name="fixed-ladder")
    )
    taxonomy: (
        Annotated[
            TaxonomyUse, BeforeValidator(_taxonomy, json_schema_input_type=str | TaxonomySpec | TaxonomyUse)
        ]
        | None
    ) = None
    judges: list[Annotated[Judge, BeforeValidator(_judge, json_schema_input_type=str | Judge)]] = Field(
        [PlainJudge(name=name) for name in JUDGES],
        description="Who says how likely an answer is right.",
    )
    combiner: Literal["stated", "calibrated"] = Field(
        "stated",
        description="What turns the judges' scores into P(correct). stated: fixed weights; calibrated: weights fitted "
        "on the labels of closed jobs of the same task and judges, once there are enough.",
    )
    history: Annotated[
        HistoryUse,
        BeforeValidator(_history, json_schema_input_type=Literal["exact", "none"] | HistoryUse),
    ] = HistoryUse()
    output: Output = Output()
    schedule: Schedule | None = None
    webhook: Webhook | None = Field(None, description="Told when the job closes.")

    @field_validator("tiers")
    @classmethod
    def _tiers_differ(cls, tiers: list[Any]) -> list[Any]:
        if twice := _repeated([tier.name for tier in tiers]):
            raise ValueError(f"names a tier twice: {twice}")
        return tiers

    @field_validator("judges")
    @classmethod
    def _judges_differ(cls, judges: list[Any]) -> list[Any]:
        if twice := _repeated([judge.name for judge in judges]):
            raise ValueError(f"names a judge twice: {twice}")
        return judges

    @model_validator(mode="after")
    def _holds_no_secret(self) -> Self:
        if found := list(find_secrets(self.model_dump(mode="json", by_alias=True))):
            raise ValueError(
                f"what looks like a secret stands at {', '.join(found)}; the spec is stored in the lake"
            )
        return self

    @property
    def promise(self) -> Quality | None:
        """What is to be certified."""
        return self.quality if self.quality is not None and self.quality.target is not None else None

    def without(self, tiers: Container[str]) -> "JobSpec":
        return self.model_copy(update={"tiers": [tier for tier in self.tiers if tier.name not in tiers]})

    def tier(self, name: str) -> Any:
        return next(tier for tier in self.tiers if tier.name == name)
