"""From input to request (rill-dsl 12.2): pure, no network."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tornflow.testing.task_type import attempt_of
from tornflow_task_http.request import OutboundRequest, Unsendable, preview, shape

SERVER = "http://127.0.0.1:8080"
URL = "http://host/do"


def request(
    input: dict[str, Any] | None = None, resource: str = URL, secret: str = "", **fields: Any
) -> OutboundRequest:
    return shape(attempt_of(resource, input, **fields), SERVER, secret)


def query(made: OutboundRequest) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(made.url).query, keep_blank_values=True))


def body(made: OutboundRequest) -> Any:
    return json.loads(made.body or b"null")


def test_the_example_of_the_specification() -> None:
    given = {
        "id": 7,
        "user": {"n": "x"},
        "query": {"q": "a b"},
        "header": {"X-T": "1"},
        "body": {"z": [1]},
        "request_config_1": {"id": 8},
    }
    made = request(given, execution_id="demo:ex_c_1", task_name="F_0-A", pattern="task_async")
    assert made.method == "POST"
    assert made.url == "http://host/do?execution_id=demo%3Aex_c_1&q=a+b&name=F_0-A"
    assert body(made) == {"execution_id": "demo:ex_c_1", "id": 8, "user": {"n": "x"}, "z": [1]}
    assert made.headers == {
        "X-Flow-Server": SERVER,
        "X-Callback-Url": f"{SERVER}/flow/trigger.json?execution_id=demo%3Aflow_c_1&task_name=job&ts=1",
        "X-Mode": "async",
        "X-Idempotency-Key": "demo:flow_c_1/job/1",
        "Content-Type": "application/json",
        "X-T": "1",
    }


@pytest.mark.parametrize("key", ["query", "query_params_x", "header", "request_header_x", "body", "request_config_x"])
def test_what_is_not_an_object_goes_to_the_body_whatever_its_key(key: str) -> None:
    made = request({key: "text"})
    assert body(made)[key] == "text"
    assert query(made) == {"execution_id": "demo:flow_c_1", "name": "job"}


def test_later_entries_override_earlier_ones_in_the_order_of_the_input() -> None:
    assert body(request({"id": 7, "body": {"id": 8}}))["id"] == 8
    assert body(request({"body": {"id": 8}, "id": 7}))["id"] == 7
    assert query(request({"query": {"a": 1}, "query_params_b": {"a": 2}}))["a"] == "2"


def test_execution_id_may_be_overridden_and_name_may_not() -> None:
    made = request({"execution_id": "mine", "query": {"name": "mine", "execution_id": "mine"}})
    assert body(made) == {"execution_id": "mine"}
    assert query(made) == {"execution_id": "mine", "name": "job"}


def test_callback_entries_for_plugins_are_dropped() -> None:
    assert body(request({"request_callback_x": {"a": 1}})) == {"execution_id": "demo:flow_c_1"}


def test_values_in_the_query_are_rendered_as_text() -> None:
    given = {"s": "ä&=", "n": None, "t": True, "i": 3, "f": 0.5, "l": [1, "x"], "o": {"k": 1}, "empty": ""}
    expected = {"s": "ä&=", "n": "null", "t": "true", "i": "3", "f": "0.5", "l": '[1,"x"]', "o": '{"k":1}', "empty": ""}
    assert {k: v for k, v in query(request({"query": given})).items() if k in given} == expected


@pytest.mark.parametrize("word", ["GET", "get", "Get"])
def test_get_has_no_body_and_the_rest_of_the_input_is_lost(word: str) -> None:
    made = request({"query": {"id": 8}, "unseen": 9}, request_type=word)
    assert (made.method, made.body) == ("GET", None)
    assert "Content-Type" not in made.headers
    assert query(made) == {"id": "8", "execution_id": "demo:flow_c_1", "name": "job"}


@pytest.mark.parametrize("word", ["POST", "put", "Patch", "DELETE", "options "])
def test_every_other_method_carries_the_json_body(word: str) -> None:
    made = request({"a": 1}, request_type=word)
    assert (made.method, body(made)["a"]) == (word.strip().upper(), 1)
    assert shape(attempt_of(URL, {"a": 1}, request_type=word), SERVER, strict=True).method == "POST"


@pytest.mark.parametrize("word", ["HEAD", "CONNECT", "nonsense", ""])
def test_what_is_no_method_with_a_body_is_a_post(word: str) -> None:
    made = request({"a": 1}, request_type=word)
    assert (made.method, body(made)["a"]) == ("POST", 1)


@pytest.mark.parametrize(
    ("pattern", "mode"),
    [("task_sync", None), ("task_async", "async"), ("task_scheduler", "async"), ("flow_sync", None), ("", None)],
)
def test_the_mode_header_marks_asynchronous_patterns_only(pattern: str, mode: str | None) -> None:
    assert request(pattern=pattern).headers.get("X-Mode") == mode


def test_user_headers_replace_those_of_the_server_in_any_case() -> None:
    made = request({"header": {"x-flow-server": "mine", "content-type": "application/json; charset=utf-8"}})
    assert made.headers["x-flow-server"] == "mine"
    assert made.headers["content-type"] == "application/json; charset=utf-8"
    assert "X-Flow-Server" not in made.headers and "Content-Type" not in made.headers


def test_header_values_are_made_text() -> None:
    made = request({"header": {"X-N": 7, "X-T": True, "X-O": {"a": 1}}})
    assert [made.headers[name] for name in ("X-N", "X-T", "X-O")] == ["7", "true", '{"a":1}']


def test_a_header_that_is_null_is_left_out_and_replaces_nothing() -> None:
    made = request({"header": {"X-Null": None, "content-type": None}})
    assert "X-Null" not in made.headers
    assert {name.lower(): value for name, value in made.headers.items()}["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("headers", "complaint"),
    [
        ({"X-A": "1\r\nX-Evil: 2"}, "header 'X-A': the value contains a line break"),
        ({"X-A": "1\x00"}, "header 'X-A'"),
        ({"X A": "1"}, "header 'X A': not a header name"),
        ({"": "1"}, "header '': not a header name"),
        ({"Content-Length": "1"}, "header 'Content-Length': set by the server only"),
        ({"transfer-encoding": "chunked"}, "header 'transfer-encoding': set by the server only"),
    ],
)
def test_headers_that_would_change_the_message_are_refused(headers: dict[str, str], complaint: str) -> None:
    with pytest.raises(Unsendable, match=complaint):
        request({"header": headers})


def test_a_form_is_sent_when_the_content_type_says_exactly_so() -> None:
    form = {"content-TYPE": "application/x-www-form-urlencoded"}
    made = request({"header": form, "s": "a b", "o": {"k": 1}, "l": [1], "n": 3, "t": False})
    assert parse_qs((made.body or b"").decode()) == {
        "execution_id": ["demo:flow_c_1"],
        "s": ["a b"],
        "o": ['{"k":1}'],
        "l": ["[1]"],
        "n": ["3"],
        "t": ["false"],
    }
    assert made.headers["content-TYPE"] == "application/x-www-form-urlencoded;charset=UTF-8"
    with_charset = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    assert body(request({"header": with_charset, "a": 1}))["a"] == 1


def test_what_is_null_is_left_out_of_a_form() -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    made = request({"header": form, "n": None, "o": {"n": None}, "body": {"m": None}, "s": ""})
    given = parse_qs((made.body or b"").decode(), keep_blank_values=True)
    assert given == {"execution_id": ["demo:flow_c_1"], "o": ['{"n":null}'], "s": [""]}


def test_null_is_sent_in_json() -> None:
    assert body(request({"n": None}))["n"] is None


@pytest.mark.parametrize(
    ("resource", "start"),
    [
        ("http://host/send?fixed=1", "http://host/send?fixed=1&execution_id="),
        ("http://host/send?", "http://host/send?execution_id="),
        ("http://host/a?x=1&", "http://host/a?x=1&execution_id="),
        ("http://host", "http://host?execution_id="),
        ("http://host/a#part", "http://host/a?execution_id="),
        ("HTTPS://Host:8443/a%20b/%7e?q=%41", "https://Host:8443/a%20b/%7e?q=%41&execution_id="),
        ("http://host/a b/ü", "http://host/a%20b/%C3%BC?execution_id="),
        ("http://bücher.example/", "http://xn--bcher-kva.example/?execution_id="),
        ("http://host/x HTTP/1.1\r\nX-Evil: 1", "http://host/x%20HTTP/1.1X-Evil:%201?execution_id="),
    ],
)
def test_the_resource_stands_verbatim_and_only_what_breaks_the_request_line_is_encoded(
    resource: str, start: str
) -> None:
    assert request(resource=resource).url.startswith(start)


@pytest.mark.parametrize(
    "resource", ["function://x", "ftp://host/x", "http://", "host/x", "", "http://[::1/x", "http://host:99999/"]
)
def test_what_is_not_an_http_url_is_named(resource: str) -> None:
    with pytest.raises(Unsendable, match="resourceName"):
        request(resource=resource, protocol="http")


def test_a_completion_callback_has_no_task_and_keeps_what_it_must_contain() -> None:
    made = request(
        {"result": 5, "dag_status": "mine", "query": {"k": "v"}},
        task_name="",
        pattern="",
        callback_url="http://127.0.0.1:8080/flow/trigger.json?execution_id=x&ts=1",
        extra_body={"execution_id": "demo:flow_c_1", "dag_status": "succeed", "data": {"a": 1}},
    )
    assert query(made) == {"execution_id": "demo:flow_c_1", "k": "v"}
    assert "X-Mode" not in made.headers
    assert body(made) == {"execution_id": "demo:flow_c_1", "result": 5, "dag_status": "succeed", "data": {"a": 1}}


@pytest.mark.parametrize("yes", [1, "1", True, "true", "TRUE"])
def test_generate_auth_signs_the_callback_url_and_disappears(yes: Any) -> None:
    made = request({"generate_auth": yes, "a": 1}, secret="s3cret")
    assert body(made) == {"execution_id": "demo:flow_c_1", "a": 1}
    plain = "execution_id=demo%3Aflow_c_1&task_name=job&ts=1"
    expected = base64.b64encode(hmac.new(b"s3cret", plain.encode(), hashlib.sha1).digest()).decode()
    url = urlsplit(made.headers["X-Callback-Url"])
    assert url.query.startswith(f"{plain}&sign=")
    assert dict(parse_qsl(url.query))["sign"] == expected


def test_without_a_secret_the_key_still_disappears() -> None:
    made = request({"generate_auth": "1"})
    assert "generate_auth" not in body(made)
    assert "sign=" not in made.headers["X-Callback-Url"]


@pytest.mark.parametrize("no", [0, "no", None, False, {"a": 1}])
def test_any_other_generate_auth_is_plain_data(no: Any) -> None:
    made = request({"generate_auth": no}, secret="s3cret")
    assert body(made)["generate_auth"] == no
    assert "sign=" not in made.headers["X-Callback-Url"]


def test_half_characters_are_an_error_or_an_escape_never_a_traceback() -> None:
    assert body(request({"a": "\ud800"}))["a"] == "\ud800"
    with pytest.raises(Unsendable, match="lone surrogate"):
        request({"query": {"a": "\ud800"}})


def test_what_json_cannot_say_is_named() -> None:
    with pytest.raises(Unsendable, match="cannot be written as JSON"):
        request({"a": object()})


texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["query", "header", "body", "request_header_a", "query_params_a", "generate_auth"]) | texts
resources = texts | texts.map("http://host/".__add__) | texts.map("https://".__add__)
# Any character, half ones too.
wild = st.text(st.characters(), max_size=20)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, json_values, max_size=4), resources, wild, wild)
def test_any_input_is_a_clean_request_or_a_clear_refusal(
    entries: dict[str, Any], resource: str, execution_id: str, text: str
) -> None:
    try:
        made = request(
            {**entries, "wild": text, "query_params_w": {"w": text}},
            resource=resource + text[:2],
            execution_id=execution_id,
            idempotency_key=f"{execution_id}/job/1",
            secret="s",
        )
    except Unsendable as error:
        assert str(error)
        return
    assert made.url.isascii() and not any(code <= " " or code == "\x7f" for code in made.url)
    assert "\n" not in "".join([*made.headers, *made.headers.values()])
    assert made.headers["X-Idempotency-Key"].isascii()
    assert isinstance(made.body, bytes)


@pytest.mark.parametrize(
    "given",
    [{"a": 1, "query": {"q": "x y"}}, {"a": 1, "header": {"Content-Type": "application/x-www-form-urlencoded"}}],
)
def test_a_preview_is_what_would_be_sent_with_the_body_as_an_object(given: dict[str, Any]) -> None:
    attempt = attempt_of(URL, given)
    shown = preview(attempt, SERVER)
    assert shown == {"url": shape(attempt, SERVER).url, "body": {"execution_id": attempt.execution_id, "a": 1}}
    assert preview(attempt_of(URL, given, request_type="GET"), SERVER)["body"] == shown["body"]


def test_a_preview_refuses_what_could_not_be_sent() -> None:
    with pytest.raises(Unsendable, match="not an http or https URL"):
        preview(attempt_of("http://"), SERVER)
