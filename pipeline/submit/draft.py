"""A new job spec as commented YAML: what `tierwise init` writes."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

Kind = Literal["classify", "extract", "answer"]
CAP = "{cap}"  # stands where the budget goes, which is known once the draft is priced
_TASKS = {
    "classify": "  kind: classify\n  instructions: Say which label fits the document. # say what the labels mean",
    "extract": "  kind: extract\n  instructions: Extract the fields from the document."
    "\n  schema: # JSON Schema of what to extract\n    type: object"
    "\n    properties: {title: {type: string}}\n    required: [title]",
    "answer": "  kind: answer\n  instructions: Answer in one sentence what the document is about.",
}


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A tier at an endpoint that speaks OpenAI's chat completions."""

    model: str
    base_url: str | None = None  # None: OpenAI's own
    keyless: bool = False
    price: tuple[str, str] | None = (
        None  # USD per million tokens, in and out; None: as the price library says
    )


class Classifier(msgspec.Struct, frozen=True, kw_only=True):
    """A tier in this process, taught on labelled examples, for nothing."""

    train: str
    text: str
    label: str


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    file: str  # the spec's own name
    documents: str  # path, from the spec's folder
    columns: Mapping[str, str | None]  # id, text, gold
    kind: Kind
    labels: Sequence[str]
    classifier: Classifier | None
    models: Sequence[Model]


def write_draft(draft: Draft) -> str:
    """With CAP where the budget goes."""
    columns = "\n".join(
        f"  {name}: {_quoted(column)}" for name, column in draft.columns.items() if column is not None
    )
    rungs = [_classifier(draft.classifier, last=not draft.models)] if draft.classifier else []
    rungs += [_rung(model, last=model is draft.models[-1]) for model in draft.models]
    stem = re.split(r"[/\\]", draft.documents)[-1].split(".")[0]
    labels = "\n  labels:\n" + "\n".join(f"    - {_quoted(label)}" for label in draft.labels)
    return f"""# Check it: tierwise estimate {draft.file}. Try it: tierwise run {draft.file} --limit 20
version: 1
name: {_name(stem)}

task:
{_TASKS[draft.kind]}{labels if draft.kind == "classify" else ""}
  # mask: [email, phone, card, iban]   # personal data, taken out before anything is sent

input:
  path: {_quoted(draft.documents)}
{columns}

tiers: # cheapest first; an answer whose P(correct) reaches `accept` is believed, else the next tier is asked
{chr(10).join(rungs)}

budget:
  usd: {CAP} # a hard cap: no call is sent that could go over it; the default is what asking every tier costs
"""


def _classifier(tier: Classifier, *, last: bool) -> str:
    named = "".join(
        f", {field}: {_quoted(column)}"
        for field, column in (("text", tier.text), ("label", tier.label))
        if column != field
    )
    return f"  - {{name: classifier, provider: sklearn, train: {_quoted(tier.train)}{named}{_accept(last)}}}"


def _rung(tier: Model, *, last: bool) -> str:
    more = f", base_url: {_quoted(tier.base_url)}" if tier.base_url else ""
    if tier.keyless:
        more += ", api_key_env: null"
    if tier.price:
        more += f', price: {{input: "{tier.price[0]}", output: "{tier.price[1]}"}}'
    name = _name(tier.model.rsplit("/", 1)[-1])
    return f"  - {{name: {name}, provider: openai, model: {_quoted(tier.model)}{more}{_accept(last)}}}"


def _accept(last: bool) -> str:
    return "" if last else ", accept: 0.9"


def _name(text: str) -> str:
    return _quoted(re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:60] or "job")


def _quoted(text: str) -> str:
    """As YAML, whatever stands in it; JSON's strings are YAML's."""
    return json.dumps(text, ensure_ascii=False)
