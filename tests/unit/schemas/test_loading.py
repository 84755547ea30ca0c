"""Every mistake of a spec at once, each where it stands and with its fix."""

import pickle
from pathlib import Path

import jsonschema
import pytest
import yaml

from schemas.errors import Problem, SpecError
from schemas.loading import json_schema, load_model, load_spec
from schemas.taxonomy import TaxonomySpec

GOOD = """\
name: j
task: {kind: classify, labels: [a, b]}
input: {path: x.csv}
tiers: [{name: k, provider: keyword, keywords: {a: [x]}}]
budget: {usd: 1}
"""
EXAMPLES = sorted((Path(__file__).parents[3] / "jobs" / "examples").glob("*.yaml"))


def problems(text: str) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        load_spec(text, "job.yaml")
    return caught.value.problems


def only(old: str, new: str) -> Problem:
    assert old in GOOD
    found = problems(GOOD.replace(old, new))
    assert len(found) == 1, [str(each) for each in found]
    return found[0]


def test_a_good_spec_has_no_problem() -> None:
    assert load_spec(GOOD).name == "j"


def test_five_mistakes_are_five_problems_with_place_line_and_fix() -> None:
    found = problems(
        """\
name: my job
task:
  kind: classify
  lables: [a]
  labels: [a, b]
input:
  text: body
tiers:
  - name: k
    provider: keyword
    keywords: {a: [x]}
    acept: 0.5
  - name: m
    provider: opnai
    model: x
budget: {usd: 1}
"""
    )

    said = {each.path: (each.line, each.fix) for each in found}
    assert len(found) == 5
    assert said["name"][0] == 1
    assert "must match" in said["name"][1]
    assert said["task.lables"] == (4, "Did you mean `labels`?")
    assert said["input.path"][0] == 6
    assert said["input.path"][1].startswith("Add `path: …`")
    assert said["tiers[0].acept"] == (12, "Did you mean `accept`?")
    assert said["tiers[1].provider"][0] == 14
    assert "'openai'" in said["tiers[1].provider"][1]


def test_the_error_lists_all_says_nothing_was_spent_and_survives_a_process_border() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(GOOD.replace("usd: 1", "usd: -1, dollars: 2"), "job.yaml")

    again = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, again):
        assert error.exit_code == 2
        assert "job.yaml: 2 problem(s)" in str(error)
        assert "Nothing was spent" in str(error)
        assert len(error.problems) == 2


@pytest.mark.parametrize(
    ("old", "new", "path", "fix"),
    [
        ("kind: classify", "kind: clasify", "task.kind", "'classify', 'extract', 'answer'"),
        ("kind: classify, ", "", "task.kind", "Add `kind: …`."),
        ("provider: keyword", "provider: keywrd", "tiers[0].provider", "'keyword'"),
        ("provider: keyword, ", "", "tiers[0].provider", "Add `provider: …`."),
        ("provider: keyword", "provider: keyword, trst: 1", "tiers[0].trst", "Did you mean `trust`?"),
        ("provider: keyword", "provider: keyword, model: m", "tiers[0].model", "Remove it; known: accept, "),
        ("keywords: {a: [x]}", "keywords: [x]", "tiers[0].keywords", ""),
        ("keywords: {a: [x]}", "keywords: {a: x}", "tiers[0].keywords.a", ""),
        ("path: x.csv", "path: 5", "input.path", "Put it in quotes."),
        ("path: x.csv", "path: [5, x]", "input.path[0]", "Put it in quotes."),
        ("path: x.csv", "path: x, where: {a: 1}", "input.where.a", "Put it in quotes."),
        ("path: x.csv", "path: x, too_long: cut", "input.too_long", "'head_tail'"),
        ("labels: [a, b]", "labels: [yes, no]", "task.labels", ""),
        ("labels: [a, b]", "labels: [{name: yes}, b]", "task.labels[0].name", "Put it in quotes."),
        ("labels: [a, b]", "labels: [a, 1]", "task.labels[1]", "Put it in quotes."),
        ("labels: [a, b]", "labels: [a, A]", "task.labels", ""),
        ("labels: [a, b]", "labels: [a]", "task.labels", ""),
        ("labels: [a, b]", "labels: [a, b], abstain: c", "task", ""),
        ("kind: classify, labels: [a, b]", "kind: extract", "task.schema", "Add `schema: …`"),
        ("kind: classify, labels: [a, b]", "kind: extract, schema: {type: array}", "task.schema", ""),
        ("kind: classify, labels: [a, b]", "kind: answer, choices: [a, A]", "task.choices", ""),
        ("kind: classify, labels: [a, b]", "kind: answer, choices: ['', a]", "task.choices[0]", ""),
        ("labels:", "prompt: {template: '{label}'}, labels:", "task.prompt.template", ""),
        ("labels:", "prompt: {template: '{'}, labels:", "task.prompt.template", ""),
        ("labels:", "prompt: {template: '{labels:d}'}, labels:", "task.prompt.template", ""),
        ("labels:", "prompt: {template: '{labels!x}'}, labels:", "task.prompt.template", ""),
        ("usd: 1", "usd: lots", "budget.usd", ""),
        ("usd: 1", "usd: .inf", "budget.usd", ""),
        ("usd: 1", "usd: 0.0000000001", "budget.usd", ""),
        ("budget:", "taxonomy: 5\nbudget:", "taxonomy", ""),
        (
            "budget:",
            "policy: {name: thompson, encoder: word}\nbudget:",
            "policy.encoder",
            "'hashing' or 'minilm'",
        ),
        (
            "budget:",
            "policy: {name: thompson, encoder: {provider: openai, modl: m, model: m}}\nbudget:",
            "policy.encoder.modl",
            "Did you mean `model`?",
        ),
        ("budget:", "taxonomy: {tree: 5}\nbudget:", "taxonomy.tree", ""),
        (
            "budget:",
            "taxonomy: {categories: [{name: x, exampels: []}]}\nbudget:",
            "taxonomy.categories[0].exampels",
            "Did you mean `examples`?",
        ),
        (
            "budget:",
            "taxonomy: {categories: [{name: x, rules: [{regex: '('}]}]}\nbudget:",
            "taxonomy.categories[0].rules[0].regex",
            "",
        ),
        (
            "budget:",
            "taxonomy: {categories: [{name: x, rules: [{keywords: ['']}]}]}\nbudget:",
            "taxonomy.categories[0].rules[0].keywords[0]",
            "",
        ),
    ],
)
def test_one_mistake_is_one_problem(old: str, new: str, path: str, fix: str) -> None:
    problem = only(old, new)

    assert problem.path == path
    assert fix in problem.fix
    assert problem.line is not None


def test_yes_and_no_as_labels_are_said_to_need_quotes() -> None:
    assert "in quotes" in only("labels: [a, b]", "labels: [yes, no]").message


def test_no_suggestion_is_the_key_itself() -> None:
    problem = only("provider: keyword", "provider: keyword, model: m")

    assert "Did you mean" not in problem.fix


def test_a_key_written_twice_is_told_once_with_its_second_line() -> None:
    found = problems(GOOD + "budget:\n  usd: 2\n")

    assert [(each.path, each.line) for each in found] == [("budget", 6)]


def test_keys_that_are_written_twice_deep_down() -> None:
    found = problems(GOOD.replace("budget: {usd: 1}", "budget:\n  usd: 1\n  usd: 2"))

    assert [(each.path, each.line, each.message) for each in found] == [("budget.usd", 7, "is written twice")]


def test_an_anchor_used_twice_is_no_repeat() -> None:
    text = GOOD.replace("keywords: {a: [x]}", "keywords: {a: &w [x], b: *w}")

    assert load_spec(text).tiers[0].keywords == {"a": ["x"], "b": ["x"]}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("name: x\ntask: [\n", 3, "is not YAML"),
        ("name: x\n\ttask: 1\n", 2, "is not YAML"),
        ("name: x\n---\nname: y\n", 2, "is not YAML"),
        ("name: \x00\n", None, "is not YAML"),
        ("since: 2024-13-45\n", None, "is not YAML: month must be in 1..12"),
        ("name: &a [*a]\n", None, "refers to itself"),
        ("a: " + "[" * 5000, None, "nested too deep"),
        ("", 1, "holds no mapping"),
        ("# nothing\n", 1, "holds no mapping"),
        ("- a\n", 1, "holds no mapping"),
        ("just words\n", 1, "holds no mapping"),
    ],
)
def test_what_is_no_mapping_of_yaml(text: str, line: int | None, said: str) -> None:
    (problem,) = problems(text)

    assert problem.path == "(file)"
    assert problem.line == line
    assert said in problem.message
    assert problem.fix


def test_a_taxonomy_file_is_read_the_same_way() -> None:
    with pytest.raises(SpecError) as caught:
        load_model(TaxonomySpec, "categories:\n  - name: a\n    children: [{name: b}, {name: b}]\n", "t.yaml")
    assert "'b'" in caught.value.problems[0].message

    with pytest.raises(SpecError) as caught:
        load_model(TaxonomySpec, "categories:\n  - name: a\n    ruls: []\n", "t.yaml")
    assert [(each.path, each.line, each.fix) for each in caught.value.problems] == [
        ("categories[0].ruls", 3, "Did you mean `rules`?")
    ]


def test_the_json_schema_is_valid_and_accepts_the_examples() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    assert EXAMPLES
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        load_spec(text, path.name)
        assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []
    assert not list(validator.iter_errors(yaml.safe_load(GOOD)))
    assert list(validator.iter_errors(yaml.safe_load(GOOD.replace("input:", "inputs:"))))


@pytest.mark.parametrize(
    ("written", "name", "epsilon"),
    [
        ("thompson", "thompson", None),
        ("thompson@3", "thompson@3", None),
        ("{name: linucb, epsilon: 0.1}", "linucb", 0.1),
    ],
)
def test_a_policy_is_a_name_or_a_name_with_options(written: str, name: str, epsilon: float | None) -> None:
    policy = load_spec(f"{GOOD}policy: {written}\n").policy
    assert (policy.name, policy.kind, policy.epsilon) == (name, name.split("@")[0], epsilon)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("Thompson", "policy"),
        ("{name: thompson, epsilon: 1.5}", "policy.epsilon"),
        ("{name: thompson, gamma: 0}", "policy.gamma"),
        ("{name: thompson, value_usd: 0}", "policy.value_usd"),
        ("{epsilon: 0.5}", "policy.name"),
    ],
)
def test_a_policy_s_mistakes_have_their_place(written: str, path: str) -> None:
    assert [each.path for each in problems(f"{GOOD}policy: {written}\n")] == [path]
