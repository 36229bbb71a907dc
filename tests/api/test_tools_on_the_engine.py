"""Convert, dependencies, mapping and dispatch tools on a real server (rill-http-api 9.5 to 9.8, 15.1)."""

from __future__ import annotations

from typing import Any

import pytest

CONVERT, DEPENDENCIES, EVALUATE, DISPATCH = (
    f"/flow/{name}.json"
    for name in ("convert", "dependency_check", "mapping_evaluation", "function_dispatch_params")
)
SUGAR = """
workspace: shop
dagName: main
type: flow
commonMapping: {shared: [{source: $.context.a, target: $.input.a}]}
output: {total: $.ask.sum}
tasks:
  - {category: function, name: ask, pattern: task_sync, resourceName: "http://exec.local/ask", input: {n: $.tell.n},
     inputMappings: [{reference: shared}]}
  - {category: pass, name: tell, next: ask}
"""
CALLS = """
workspace: shop
dagName: main
type: flow
callback: {resourceName: "http://hook.local/done"}
tasks:
  - {category: function, name: a, pattern: task_sync, resourceName: "http://exec.local/one"}
  - category: foreach
    name: loop
    iterationMapping: {collection: $.input.l, item: it}
    tasks:
      - {category: function, name: b, pattern: task_async, resourceName: "http://exec.local/one"}
      - category: choice
        name: pick
        choices: [{condition: "$.input.x", tasks: [{category: function, name: c, pattern: flow_sync,
                   resourceName: "rillflow://shop:other"}]}]
"""


async def refusal(flows: Any, path: str, query: Any = None, **options: Any) -> str:
    reply = await flows.post(path, query, **options)
    assert (reply.status, reply.json["error_code"], reply.json["pass_through"]) == (400, 30110, True), reply.body
    return str(reply.json["error"])


# --- convert, dependencies, definition


async def test_convert_shows_a_flow_that_never_ran_and_stores_nothing(flows: Any) -> None:
    reply = await flows.post(CONVERT, body=SUGAR, media="text/plain")
    view = reply.json["ret"]
    tasks = view.pop("tasks")
    assert view == {
        "workspace": "shop",
        "dag_name": "main",
        "type": "flow",
        "dag_status": "NOT_STARTED",
        "process": 0,
        "invoke_summary": {},
    }
    assert list(tasks) == ["ask", "tell"]  # no endTask: shorthand is not expanded
    assert tasks["ask"]["task"]["input"] == {"n": "$.tell.n"}
    assert tasks["ask"]["task"]["inputMappings"] == [{"source": "$.context.a", "target": "$.input.a"}]
    assert tasks["tell"]["next"] == ["ask"]
    assert "outputMappings" not in tasks["tell"]["task"]
    assert {task["status"] for task in tasks.values()} == {"NOT_STARTED"}
    assert (await flows.post("/flow/submit.json", {"descriptor_id": "shop:main"})).json["error_code"] == 30106


@pytest.mark.parametrize(
    ("text", "error"),
    [("", "dag descriptor empty."), ("type: flow", "dag task empty."), ("[", "not YAML"), ("a: &x 1\nb: *x", "alias")],
)
async def test_convert_wraps_every_problem(flows: Any, text: str, error: str) -> None:
    assert error in await refusal(flows, CONVERT, body=text)


async def test_a_long_descriptor_is_read_aside(flows: Any) -> None:
    many = "".join(f"  - {{category: pass, name: t{index}}}\n" for index in range(600))
    reply = await flows.post(CONVERT, body=f"workspace: shop\ndagName: main\ntype: flow\ntasks:\n{many}")
    assert len(reply.json["ret"]["tasks"]) == 600


async def test_dependencies_are_found_at_every_depth_and_in_the_callback(flows: Any) -> None:
    expected = {
        "ret": {
            "dependencies": [
                {"resource_name": "http://exec.local/one", "names": ["a", "b"]},
                {"resource_name": "rillflow://shop:other", "names": ["c"]},
                {"resource_name": "http://hook.local/done", "names": ["flow_completed_callback"]},
            ]
        }
    }
    assert (await flows.post(DEPENDENCIES, body=CALLS, media="text/plain")).json == expected
    names = {"business_id": "shop", "feature_name": "main", "alias": "release"}
    await flows.post("/flow/bg/manage/descriptor/add_descriptor.json", names, body=CALLS)
    assert (await flows.get(DEPENDENCIES, {"descriptor_id": " shop:main "})).json == expected


@pytest.mark.parametrize(
    ("query", "body", "status", "code"),
    [
        (None, None, 500, 30401),
        (None, "type: other\ndagName: a\nworkspace: b", 500, 30403),
        ({"descriptor_id": "no:body"}, None, 400, 30106),
        ({"descriptor_id": "nobody"}, None, 400, 30109),
    ],
)
async def test_dependencies_of_something_wrong_are_not_wrapped(
    flows: Any, query: Any, body: str | None, status: int, code: int
) -> None:
    reply = await flows.post(DEPENDENCIES, query, body=body)
    assert (reply.status, reply.json["error_code"]) == (status, code)


async def test_an_editor_gets_back_what_was_written(flows: Any) -> None:
    names = {"business_id": "shop", "feature_name": "main", "alias": "release"}
    add = "/flow/bg/manage/descriptor/add_descriptor.json"
    first = (await flows.post(add, names, body=SUGAR)).json["descriptor_id"]
    data = (await flows.get("/flow/bg/get_descriptor.json", {"id": "shop:main"})).json["data"]
    assert list(data["tasks"]) == ["ask", "tell"]
    assert data["tasks"]["ask"] == {
        "next": [],
        "task": {
            "name": "ask",
            "category": "function",
            "pattern": "task_sync",
            "resourceName": "http://exec.local/ask",
            "resourceProtocol": "http",
            "input": {"n": "$.tell.n"},
            "inputMappings": [{"reference": "shared"}],
            "tolerance": False,
            "keyCallback": False,
        },
    }
    tasks = [one["task"] for one in data["tasks"].values()]
    del tasks[0]["resourceProtocol"]  # the one thing that was added for the editor
    del data["alias"]
    again = await flows.post(add, names, body={**data, "tasks": tasks})
    assert again.json["descriptor_id"] == first


async def test_the_successors_of_a_switch_are_shown_to_the_editor(flows: Any) -> None:
    await flows.add(
        """
  - {category: switch, name: pick, switches: [{condition: default, next: "b"}, {condition: "$.input.x", next: "c,b"}]}
  - {category: pass, name: b}
  - {category: pass, name: c}
"""
    )
    data = (await flows.get("/flow/bg/get_descriptor.json", {"id": "shop:main"})).json["data"]
    assert data["tasks"]["pick"]["next"] == ["b", "c"]


# --- mappings


FLOW = """
  - category: function
    name: ask
    pattern: task_async
    resourceName: "{server}/flow/service_check.json?fixed=1"
    requestType: get
    parameters: {lang: en, n: 0}
    inputMappings: [{source: $.context.n, target: $.input.n}, {source: $.context.q, target: $.input.query.q}]
    outputMappings: [{source: $.output.answer, target: $.context.answers.first}]
  - category: foreach
    name: loop
    inputMappings: [{source: $.context.list, target: $.input.list}]
    iterationMapping: {collection: $.input.list, item: it, index: i}
    outputMappings: [{source: "$.output.sub_context[*].it", target: $.context.seen}]
    tasks: [{category: pass, name: inner, inputMappings: [{source: $.context.it, target: $.input.it}]}]
"""


async def running(flows: Any) -> str:
    await flows.add(FLOW)
    one: str = await flows.submit({"n": 7, "q": "a b", "list": ["x", "y"]})
    await flows.until(one, ask="RUNNING", loop="SUCCEEDED")
    return one


async def evaluated(flows: Any, query: Any = None, body: Any = None) -> Any:
    reply = await flows.post(EVALUATE, query, body=body)
    assert reply.status == 200, reply.body
    return reply.json["ret"]


async def test_rules_are_applied_in_order_to_what_the_body_brings(flows: Any) -> None:
    rules = """
- {source: $.context.a, target: $.input.x}
- {source: $.input.x, transform: "source + 1", target: $.context.b.c}
- {source: "[1]", target: $.output.list}
- {source: $.context.nowhere, target: $.input.gone}
"""
    assert await evaluated(flows, {"mapping_rules": rules}, {"context": {"a": 1}, "input": {"kept": True}}) == {
        "context": {"a": 1, "b": {"c": 2}},
        "input": {"kept": True, "x": 1},
        "output": {"list": [1]},
    }
    assert await evaluated(flows) == {"context": {}, "input": {}, "output": {}}
    as_json = '[{"source": "$.context.a", "target": "$.input.a"}]'
    assert (await evaluated(flows, {"mapping_rules": as_json}, {"context": {"a": [None]}}))["input"] == {"a": [None]}


async def test_what_is_missing_comes_from_the_execution(flows: Any) -> None:
    one = await running(flows)
    at = {"execution_id": one, "task_name": "ask"}
    shown = await evaluated(flows, {**at, "type": "input_eva"})
    assert shown["input"] == {"n": 7, "query": {"q": "a b"}}
    assert shown["context"]["flow_execution_id"] == one
    shown = await evaluated(flows, {**at, "type": "output_eva"}, {"context": {"own": 1}, "output": {"answer": 42}})
    assert shown["context"] == {"own": 1, "answers": {"first": 42}}
    loop = await evaluated(flows, {"execution_id": one, "task_name": "loop", "type": "output_eva"})
    assert [group["i"] for group in loop["output"]["sub_context"]] == [0, 1]
    assert loop["context"]["seen"] == ["x", "y"]
    inner = await evaluated(flows, {"execution_id": one, "task_name": "loop_1-inner", "type": "input_eva"})
    assert (inner["input"], inner["context"]) == ({"it": "y"}, {"it": "y", "i": 1})


async def test_trying_a_mapping_leaves_the_execution_alone(flows: Any) -> None:
    one = await running(flows)
    before = (await flows.until(one))["context"]
    query = {"execution_id": one, "task_name": "ask", "type": "input_eva"}
    rules = "- {source: '1', target: $.context.n}\n- {source: '2', target: '$.context.list[0]'}"
    shown = await evaluated(flows, {**query, "mapping_rules": rules})
    assert (shown["context"]["n"], shown["context"]["list"]) == (1, [2, "y"])
    assert (await flows.until(one))["context"] == before


@pytest.mark.parametrize(
    ("query", "body", "words"),
    [
        ({"type": "both"}, {}, "type must be input_eva or output_eva"),
        ({"mapping_rules": "{a: 1}"}, {}, "mapping_rules: a list is required"),
        ({"mapping_rules": "[7]"}, {}, "mapping_rules[0]: a mapping is required"),
        ({"mapping_rules": "["}, {}, "not YAML"),
        ({"mapping_rules": "- {reference: shared}"}, {}, "mapping_rules[0].reference: write the referenced rules out"),
        ({"mapping_rules": "- {source: '1', target: $.input.a}\n" * 101}, {}, "has 101 rules, 100 are allowed"),
        ({"mapping_rules": "- {source: '1', target: nowhere, tolerance: false}"}, {}, "nowhere"),
        ({"mapping_rules": "- {transform: '1 +', target: $.input.a, tolerance: false}"}, {}, "$.input.a"),
        ({}, {"context": [1]}, "context must be a JSON object"),
        (
            {"type": "input_eva", "execution_id": "x", "task_name": "y"},
            None,
            "there is no task y in an execution x",
        ),
    ],
)
async def test_a_mapping_that_cannot_be_tried_says_why(flows: Any, query: Any, body: Any, words: str) -> None:
    error = await refusal(flows, EVALUATE, query, body=body)
    assert words in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "rule",
    [
        "- {transform: 'n = 0; while(true) { n = n + 1; }', target: $.input.a}",
        "- {transform: 'n = 0; while(true) { n = n + 1; }', target: $.input.a, tolerance: true}",
        "- {transform: '%s', target: $.input.a}" % ("1 + " * 1000 + "1"),
        "- {transform: 's = \"0123456789\"; for i in range(1, 17) { s = s + s; } string.length(s)', target: $.input.a}",
    ],
    ids=["steps", "tolerant", "texts", "bytes"],
)  # fmt: skip
async def test_scripts_of_one_request_share_their_steps_and_bytes(flows: Any, rule: str) -> None:
    error = await refusal(flows, DISPATCH, body={"input_mapping_rules": f"{rule}\n" * 100})
    assert error.endswith("the rules need more than 1000000 steps or 67108864 bytes together")


# --- dispatches


async def test_the_url_and_body_of_a_task_are_shown(flows: Any) -> None:
    one = await running(flows)
    reply = await flows.post(DISPATCH, {"execution_id": one, "task_name": "ask"})
    quoted = one.replace(":", "%3A")
    assert reply.json["ret"] == {
        "url": f"{flows.base}/flow/service_check.json?fixed=1&execution_id={quoted}&q=a+b&name=ask",
        "body": {"execution_id": one, "n": 7, "lang": "en"},
    }
    body = {"resource_name": "https://other.local/x", "context": {"n": 8}}
    reply = await flows.post(DISPATCH, {"execution_id": one, "task_name": "ask"}, body=body)
    assert reply.json["ret"] == {
        "url": f"https://other.local/x?execution_id={quoted}&name=ask",
        "body": {"execution_id": one, "n": 8, "lang": "en"},
    }


async def test_placeholders_stand_for_what_nobody_gave(flows: Any) -> None:
    reply = await flows.post(DISPATCH)
    assert reply.json["ret"] == {
        "url": "http://mock.function.resource?execution_id=mockExecutionId&name=mockTaskName",
        "body": {"execution_id": "mockExecutionId"},
    }
    rules = "- {source: $.context.a, target: $.input.a}"
    body = {"input_mapping_rules": rules, "context": {"a": {"b": 1}}, "resource_name": "http://x/"}
    reply = await flows.post(DISPATCH, {"execution_id": "e", "task_name": "t"}, body=body)
    assert reply.json["ret"] == {
        "url": "http://x/?execution_id=e&name=t",
        "body": {"execution_id": "e", "a": {"b": 1}},
    }


async def test_a_task_type_without_a_preview_shows_resource_and_input(flows: Any) -> None:
    body = {"resource_name": "rillflow://shop:main", "input_mapping_rules": "- {source: '1', target: $.input.a}"}
    reply = await flows.post(DISPATCH, body=body)
    assert reply.json["ret"] == {"url": "rillflow://shop:main", "body": {"a": 1}}


@pytest.mark.parametrize(
    ("query", "body", "words"),
    [
        ({}, {"resource_name": "ftp://x"}, "resource protocol: ftp do not support"),
        ({}, {"resource_name": "http://"}, "not an http or https URL"),
        ({}, {"resource_name": 7}, "resource_name must be a text"),
        ({}, {"input_mapping_rules": []}, "input_mapping_rules must be a text"),
        ({"execution_id": "x", "task_name": "y"}, {}, "there is no task y in an execution x"),
    ],
)
async def test_a_dispatch_that_cannot_be_shown_says_why(flows: Any, query: Any, body: Any, words: str) -> None:
    assert words in await refusal(flows, DISPATCH, query, body=body)


async def test_a_resource_object_is_named_with_its_category(flows: Any) -> None:
    await flows.add("  - {category: function, name: t, pattern: task_sync, resource: {name: gpu, category: batch}}\n")
    one = await flows.submit()
    error = await refusal(flows, DISPATCH, {"execution_id": one, "task_name": "t"})
    assert "batch do not support" in error


async def test_only_functions_are_dispatched(flows: Any) -> None:
    one = await running(flows)
    error = await refusal(flows, DISPATCH, {"execution_id": one, "task_name": "loop"})
    assert error == "task loop category is foreach, not function"
