"""The taxonomy as written in YAML: a tree of categories that route a query, never answer it."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.model import Model, name_field


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return pattern


class Rule(Model):
    """Matches when every test it states matches; the rules of a category are alternatives."""

    keywords: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="Whole words or phrases, any of them, any case."
    )
    regex: Annotated[str, AfterValidator(_compiles)] | None = Field(None, description="Searched in the text.")
    field: str | None = Field(None, description="A column of the row.")
    equals: str | None = Field(None, description="The value that column must have.")

    @model_validator(mode="after")
    def _tests_something(self) -> Self:
        if not self.keywords and self.regex is None and self.field is None:
            raise ValueError("tests nothing: give keywords, regex, or field with equals")
        if (self.field is None) != (self.equals is None):
            raise ValueError("field and equals go together")
        return self


class Category(Model):
    """One node of the tree."""

    name: str = name_field()
    description: str = ""
    examples: list[str] = []
    rules: list[Rule] = []
    allowed_tiers: list[str] | None = Field(None, description="None: all. Binds the whole subtree.")
    sensitivity: Literal["normal", "high"] = "normal"
    children: list["Category"] = []


class TaxonomySpec(Model):
    version: int | str = 1
    categories: list[Category] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        def visit(categories: list[Category], path: str) -> None:
            names = [category.name for category in categories]
            for name in {name for name in names if names.count(name) > 1}:
                raise ValueError(f"two categories under {path or 'the root'} are named {name!r}")
            for category in categories:
                visit(category.children, f"{path}/{category.name}")

        visit(self.categories, "")
        return self
