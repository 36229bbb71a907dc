"""The linter: every rule with a flow that breaks it and its mended twin; places, suggestions, silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tornflow.lint import RULES, Remark, Severity, lint

ROOT = Path(__file__).parents[2]
HEAD = "workspace: demo\ndagName: main\ntype: flow\ninputSchema: '[{\"name\": \"v\"}]'\n"
PROTOCOLS = ("http", "https", "python", "rillflow")
GOOD = [*sorted((ROOT / "conf" / "flows").glob("*.yaml")), *sorted((ROOT / "examples" / "flows").glob("*.yaml"))]


def flow(tasks: str, more: str = "") -> str:
    return f"{HEAD}{more}tasks:\n{tasks}\n"


def found(text: str) -> list[Remark]:
    return lint(text, PROTOCOLS)


def function(rest: str) -> str:
    return f"- {{category: function, name: a, pattern: task_sync, resourceName: http://h/x, {rest}}}"


def only(text: str, rule: str) -> Remark:
    remarks = [remark for remark in found(text) if remark.rule == rule]
    assert len(remarks) == 1, found(text)
    return remarks[0]


INPUT = "inputMappings: [{source: $.context.v, target: $.input.v}]"
# rule, broken text, part of its path, part of the suggestion, mended text
BROKEN = [
    ("refused", flow("- {category: pass, name: a, next: bb}\n- {category: pass, name: b}"), "tasks[0].next", "b?",
     flow("- {category: pass, name: a, next: b}\n- {category: pass, name: b}")),
    ("path-syntax", flow(function("successConditions: ['$.output[?(@.a = 1)]']")), "successConditions[0]", "==",
     flow(function("successConditions: ['$.output[?(@.a == 1)]']"))),
    ("script-syntax", flow("- {category: pass, name: a, outputMappings: [{target: $.context.x, transform: '1 +'}]}"),
     "outputMappings[0].transform", "",
     flow("- {category: pass, name: a, outputMappings: [{target: $.context.x, transform: '1 + 1'}]}")),
    ("unknown-function",
     flow("- {category: pass, name: a, outputMappings: [{target: $.context.x, transform: 'string.lenght(''a'')'}]}"),
     "transform", "string.length?",
     flow("- {category: pass, name: a, outputMappings: [{target: $.context.x, transform: 'string.length(''a'')'}]}")),
    ("no-conditions", flow("- {category: suspense, name: a}"), "tasks[0]", "event",
     flow("- {category: suspense, name: a, event: go}")),
    ("collection-root",
     flow("- category: foreach\n  name: a\n  iterationMapping: {collection: $.context.v, item: x}\n"
          "  tasks: [{category: pass, name: b}]"),
     "iterationMapping.collection", "$.input.v",
     flow(f"- category: foreach\n  name: a\n  {INPUT}\n  iterationMapping: {{collection: $.input.v, item: x}}\n"
          "  tasks: [{category: pass, name: b}]")),
    ("no-item",
     flow(f"- category: foreach\n  name: a\n  {INPUT}\n  iterationMapping: {{collection: $.input.v}}\n"
          "  tasks: [{category: pass, name: b}]"),
     "iterationMapping", "item", None),
    ("target-root", flow("- {category: pass, name: a, outputMappings: [{source: '1', target: $.contxt.x}]}"),
     "outputMappings[0].target", "$.context",
     flow("- {category: pass, name: a, outputMappings: [{source: '1', target: $.context.x}]}")),
    ("flow-id", flow("- {category: function, name: a, pattern: flow_sync, resourceName: rillflow://child}"),
     "resourceName", "workspace:dagName",
     flow("- {category: function, name: a, pattern: flow_sync, resourceName: 'rillflow://demo:child:md5_0a'}")),
    ("unknown-key", flow("- {category: pass, name: a, input_mappings: []}"), "input_mappings", "inputMappings",
     flow("- {category: pass, name: a, inputMappings: []}")),
    ("repeated-key", flow("- {category: pass, name: a, title: x, title: y}"), "tasks[0].title", "",
     flow("- {category: pass, name: a, title: y}")),
    ("unreachable-task", flow("- {category: return, name: a, conditions: [], next: b}\n- {category: pass, name: b}"),
     "tasks[1]", "", flow("- {category: return, name: a, conditions: [$.input.v], next: b, " + INPUT
                          + "}\n- {category: pass, name: b}")),
    ("dead-link",
     flow("- category: choice\n  name: a\n  choices:\n  - {condition: $.input, tasks: [{category: pass, name: b, "
          "next: c}]}\n  - {condition: '$.input[?(1==1)]', tasks: [{category: pass, name: c}]}"),
     "choices[0].tasks[0].next", "one branch", None),
    ("empty-source", flow(function("inputMappings: [{source: $.output.v, target: $.input.v}]")),
     "inputMappings[0].source", "$.context", flow(function(INPUT))),
    ("unmapped-input", flow("- {category: return, name: a, conditions: [$.input.v]}"), "conditions[0]",
     "source: $.context.v", flow(f"- {{category: return, name: a, conditions: [$.input.v], {INPUT}}}")),
    ("unmapped-context",
     flow(f"- category: foreach\n  name: a\n  {INPUT}\n  iterationMapping: {{collection: $.input.v, item: one}}\n"
          "  tasks: [{category: pass, name: b, inputMappings: [{source: $.context.ome, target: $.input.x}]}]"),
     "tasks[0].tasks[0].inputMappings[0].source", "$.context.one?",
     flow(f"- category: foreach\n  name: a\n  {INPUT}\n  iterationMapping: {{collection: $.input.v, item: one}}\n"
          "  tasks: [{category: pass, name: b, inputMappings: [{source: $.context.one, target: $.input.x}]}]")),
    ("unlinked-reference", flow("- {category: pass, name: a}\n- {category: pass, name: b, input: {x: $.a.y}}"),
     "tasks[1].input.x", "next of a",
     flow("- {category: pass, name: a, next: b}\n- {category: pass, name: b, input: {x: $.a.y}}")),
    ("unknown-root", flow(function("inputMappings: [{source: $.contxt.v, target: $.input.v}]")),
     "inputMappings[0].source", "$.context?", flow(function(INPUT))),
    ("looks-like-path", flow(function("inputMappings: [{source: context.v, target: $.input.v}]")),
     "inputMappings[0].source", "$.context.v?", flow(function(INPUT))),
    ("no-effect", flow(function("inputMappings: [{source: $.context.v}]")), "inputMappings[0]", "target",
     flow(function(INPUT))),
    ("lost-target", flow(function("inputMappings: [{source: $.context.v, target: $.context.w}]")),
     "inputMappings[0].target", "$.input.w?", flow(function(INPUT))),
    ("wrong-root", flow(function("successConditions: [$.input.v]")), "successConditions[0]", "$.output",
     flow(function("successConditions: [$.output.v]"))),
    ("never-true", flow(f"- {{category: return, name: a, conditions: ['$.input.v.length()'], {INPUT}}}"),
     "conditions[0]", "filter", flow(f"- {{category: return, name: a, conditions: [$.input.v], {INPUT}}}")),
    ("switch-next",
     flow("- {category: switch, name: a, next: b, switches: [{condition: default, next: 'b,c'}]}\n"
          "- {category: pass, name: b}\n- {category: pass, name: c}"),
     "tasks[0].next", "leave next out",
     flow("- {category: switch, name: a, switches: [{condition: default, next: 'b,c'}]}\n"
          "- {category: pass, name: b}\n- {category: pass, name: c}")),
    ("trigger-url", flow(function("inputMappings: [{source: $.tasks.aa.trigger_url, target: $.input.u}]")),
     "inputMappings[0].source", "a?",
     flow(function("inputMappings: [{source: $.tasks.a.trigger_url, target: $.input.u}]"))),
    ("unknown-variable", flow(function("inputMappings: [{source: '1', target: $.input.u, transform: sorce + 1}]")),
     "transform", "source?",
     flow(function("inputMappings: [{source: '1', target: $.input.u, transform: source + 1}]"))),
    ("unserved-protocol", flow(function("").replace("http:", "htp:")), "resourceName", "http://?", flow(function(""))),
    ("pattern-mismatch", flow(function("").replace("http://h/x", "rillflow://demo:child")), "pattern", "flow_sync",
     None),
    ("bad-url", flow(function("").replace("http://h/x", "http:///x")), "resourceName", "http://host",
     flow(function(""))),
    ("bad-number", flow("- {category: suspense, name: a, event: e, timeline: {timeoutInSeconds: 1.5}}"),
     "timeline.timeoutInSeconds", "60",
     flow("- {category: suspense, name: a, event: e, timeline: {timeoutInSeconds: 15}}")),
    ("bad-schema", flow("- {category: pass, name: a}").replace("'[", "'{["), "inputSchema", "name",
     flow("- {category: pass, name: a}")),
    ("undeclared-context", flow(function(INPUT.replace("context.v", "context.w"))), "inputMappings[0].source",
     "inputSchema", flow(function(INPUT))),
    ("unordered-read",
     flow("- {category: pass, name: a, inputMappings: [{source: $.context.x, target: $.input.x}]}\n"
          "- {category: pass, name: b, outputMappings: [{source: '1', target: $.context.x}]}"),
     "tasks[0].inputMappings[0].source", "next",
     flow("- {category: pass, name: a, inputMappings: [{source: $.context.x, target: $.input.x}]}\n"
          "- {category: pass, name: b, next: a, outputMappings: [{source: '1', target: $.context.x}]}")),
    ("unused-mapping", flow("- {category: pass, name: a}", "commonMapping: {m: [{source: '1', target: $.input.x}]}\n"),
     "commonMapping.m", "",
     flow("- {category: pass, name: a, inputMappings: [{reference: m}]}",
          "commonMapping: {m: [{source: '1', target: $.input.x}]}\n")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "path", "advice", "mended"), BROKEN, ids=[one[0] for one in BROKEN])
def test_each_rule_finds_what_breaks_it_and_leaves_its_mended_twin_alone(
    rule: str, text: str, path: str, advice: str, mended: str | None
) -> None:
    remark = only(text, rule)
    assert remark.path.endswith(path)
    assert advice in remark.suggestion
    assert remark.severity is RULES[rule].severity
    assert remark.line > 0 and remark.column > 0 and remark.message
    if mended is not None:
        assert found(mended) == []


def test_every_rule_has_a_flow_that_breaks_it() -> None:
    assert {one[0] for one in BROKEN} == set(RULES)


@pytest.mark.parametrize("file", GOOD, ids=lambda path: path.name)
def test_nothing_is_said_about_the_samples(file: Path) -> None:
    assert found(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "rule", "place"),
    [
        (flow(function("successConditions: ['$.output[?(@.a = 1)]']")), "path-syntax", "= 1"),
        (flow("- category: pass\n  name: a\n  outputMappings:\n  - target: $.context.x\n    source: $.ctx.é[\n"),
         "path-syntax", ""),
        (flow("- category: pass\n  name: a\n  outputMappings:\n  - target: $.context.x\n    transform: |\n"
              "      let a = 1;\n        return a + nope(2);\n"), "unknown-function", "nope(2)"),
        (flow("- {category: pass, name: a, outputMappings: [{target: $.context.x, transform: 1 + nope(2)}]}"),
         "unknown-function", "nope(2)"),
        (flow('- {category: pass, name: a, outputMappings: [{target: $.context.x, transform: "1 + nope(2)"}]}'),
         "unknown-function", "nope(2)"),
    ],
)  # fmt: skip
def test_a_remark_points_into_the_text_of_a_path_or_script(text: str, rule: str, place: str) -> None:
    remark = only(text, rule)
    line = text.split("\n")[remark.line - 1]
    assert line[remark.column - 1 :].startswith(place)


def test_a_place_that_escapes_hide_is_that_of_the_whole_value() -> None:
    text = flow('- {category: pass, name: a, outputMappings: [{target: $.context.x, transform: "\\x31 + nope(2)"}]}')
    remark = only(text, "unknown-function")
    assert text.split("\n")[remark.line - 1][remark.column - 1 :].startswith('"\\x31')


@pytest.mark.parametrize(
    ("tasks", "advice"),
    [
        ("- {category: funtion, name: a}", "function?"),
        ("- {category: function, name: a, pattern: task_snyc, resourceName: http://h}", "task_sync?"),
        ("- {category: pass, name: my_first-task}", "myFirstTask?"),
        ("- {category: pass, name: a, next: 'b, c'}\n- {category: pass, name: b}\n- {category: pass, name: c}",
         "blanks"),
        ("- {category: pass, name: a, inputMappings: [{reference: comon}]}", "common?"),
        ("- {category: pass, name: a, inputMappings: {source: x}}", "dash"),
        ("- {category: pass, name: a, next: a}", "foreach"),
        ("- {category: pass, name: a, next: c}\n- {category: choice, name: b, choices: [{condition: $.input, "
         "tasks: [{category: pass, name: c}]}]}", "tasks[1].choices[0].tasks[0]"),
    ],
)  # fmt: skip
def test_what_the_server_refuses_comes_with_a_suggestion(tasks: str, advice: str) -> None:
    text = flow(tasks, "commonMapping: {common: [{source: '1', target: $.input.x}]}\n")
    assert advice in only(text, "refused").suggestion


def test_the_type_and_the_end_task_are_advised_on_too() -> None:
    text = flow("- {category: pass, name: a}").replace("type: flow", "type: FLOW")
    assert "flow?" in only(text, "refused").suggestion
    text = flow("- {category: pass, name: a, next: endTask}", "output: {x: $.a.y}\n")
    assert "by itself" in only(text, "refused").suggestion


def test_tasks_behind_one_that_always_fails_never_run_unless_it_is_tolerated() -> None:
    tasks = (
        "- {category: return, name: a, next: b}\n- {category: pass, name: b, next: c}\n- {category: pass, name: c}\n"
        "- {category: pass, name: d, next: c}"
    )
    dead = [remark.path for remark in found(flow(tasks)) if remark.rule == "unreachable-task"]
    assert dead == ["tasks[1]", "tasks[2]"]
    tolerated = found(flow(tasks.replace("name: a,", "name: a, tolerance: true,")))
    assert [remark.rule for remark in tolerated] == ["no-conditions"]


def test_one_live_way_into_a_join_is_enough() -> None:
    tasks = (
        "- {category: return, name: a, conditions: [], next: 'b,c'}\n- {category: pass, name: b}\n"
        "- {category: pass, name: c}\n- {category: pass, name: d, next: c}"
    )
    assert [one.path for one in found(flow(tasks)) if one.rule == "unreachable-task"] == ["tasks[1]"]


def test_the_protocols_are_only_judged_when_they_are_known() -> None:
    text = flow(function("").replace("http:", "shout:"))
    assert lint(text) == []
    assert [remark.rule for remark in lint(text, ["http"])] == ["unserved-protocol"]


def test_remarks_come_in_the_order_of_the_text() -> None:
    text = flow("- {category: return, name: b_}\n" + function(INPUT.replace("$.context.v", "'$.context.v['")))
    places = [(remark.line, remark.column) for remark in found(text)]
    assert len(places) == 3 and places == sorted(places)


def test_a_script_knows_its_own_names() -> None:
    script = "let f = lambda(x) -> x + 1 end; fn g(y) { return y; } for i in range(0, 2) { f(i); } "
    script += "try { g(1) } catch(e) { e } return '#{g(source)}' =~ /(a)/ ? $1 : is_def(whatever);"
    head = "- category: pass\n  name: a\n  outputMappings:\n  - target: $.context.x\n    transform: |\n      "
    text = flow(head + script)
    assert [remark.message for remark in found(text)] == ["the script has no variable whatever: it is nil"]


def test_only_errors_are_errors() -> None:
    assert {rule.severity for rule in RULES.values()} == set(Severity)
    assert RULES["undeclared-context"].severity is Severity.HINT
