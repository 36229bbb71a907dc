"""What functions call and when tasks run: resources, protocols, sub-flows, numbers of timelines (11, 12)."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from tornflow.lint.mappings import only_from
from tornflow.lint.page import Page, nearest, shown
from tornflow.lint.tree import Tree, View, as_text
from tornflow.model.status import Pattern

FLOW = "rillflow"
_FLOW_ID = re.compile(r"[a-zA-Z0-9]+:[a-zA-Z0-9]+(?::(?:[a-zA-Z0-9]+|md5_[a-zA-Z0-9]+))?")
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
_WAITS = (Pattern.TASK_ASYNC, Pattern.TASK_SCHEDULER)
_FLOWS = (Pattern.FLOW_SYNC, Pattern.FLOW_ASYNC)
_NO_TIMEOUT = ("pass", "return")


def check(page: Page, tree: Tree) -> None:
    for view in tree.views():
        if view.category == "function":
            _resource(page, view)
            _object(page, view.task.get("resource"), f"{view.path}.resource")
        _timeline(page, view)
    timeline = tree.document.get("timeline", {})
    _timeout(page, "timeline", as_text(timeline.get("timeoutInSeconds")), "context")
    _callback(page, tree)
    if tree.document.get("type") == "flow":  # a library may be for another server
        for index, one in enumerate(tree.document.get("resources", ())):
            _object(page, one, f"resources[{index}]")


def _resource(page: Page, view: View) -> None:
    name, place = view.text("resourceName").strip(), f"{view.path}.resourceName"
    scheme, mark, rest = name.partition("://")
    protocol = view.text("resourceProtocol") or (scheme if mark else "")
    if "resource" in view.task or protocol == "resource":
        return  # decided by the category of the object, see _object
    _protocol(page, view, protocol, place)
    if protocol == FLOW and not _FLOW_ID.fullmatch(rest.strip()):
        message = f"{shown(name)} names no flow"
        page.note("flow-id", place, message, "rillflow://workspace:dagName, rillflow://workspace:dagName:alias")
    elif protocol in ("http", "https") and not _has_host(name):
        page.note("bad-url", place, f"{shown(name)} has no host", "http://host:port/path")
    _pattern(page, view, protocol)
    method = view.text("requestType")
    if method and method.upper() not in _METHODS:
        guess = nearest(method, _METHODS)
        message = f"the method {shown(method)} is not known: POST is sent"
        page.note("no-effect", f"{view.path}.requestType", message, f"did you mean {guess}?" if guess else "")


def _protocol(page: Page, view: View, protocol: str, place: str) -> None:
    known = page.protocols
    if known is None or protocol in known or page.was_refused(place):
        return
    guess = nearest(protocol, known)
    advice = f"did you mean {guess}://?" if guess else f"installed: {', '.join(sorted(known))}"
    if not protocol:
        page.note("unserved-protocol", place, "the resource has no protocol", "http://host/path")
        return
    field = "resourceProtocol" if view.text("resourceProtocol") else "resourceName"
    message = f"no installed task type serves {shown(protocol)}://"
    page.note("unserved-protocol", f"{view.path}.{field}", message, advice)


def _object(page: Page, resource: Any, place: str) -> None:
    """A resource object is dispatched to the task type that its category names (12.6)."""
    category = as_text(resource.get("category")) if isinstance(resource, dict) else ""
    if category and page.protocols is not None and category not in page.protocols:
        message = f"no installed task type serves resources of the category {shown(category)}"
        page.note("unserved-protocol", f"{place}.category", message, f"installed: {', '.join(sorted(page.protocols))}")


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False


def _pattern(page: Page, view: View, protocol: str) -> None:
    pattern, place = view.text("pattern"), f"{view.path}.pattern"
    if protocol == FLOW and pattern in _WAITS:
        page.note("pattern-mismatch", place, f"{pattern} starts the flow and then waits for ever", "flow_sync")
    elif protocol == FLOW and pattern == Pattern.TASK_SYNC:
        page.note("pattern-mismatch", place, "task_sync starts the flow and does not wait for it", "flow_sync")
    elif protocol and protocol != FLOW and pattern in _FLOWS:
        message = f"{pattern} over {shown(protocol)}:// needs an answer with an execution_id"
        advice = "task_async" if pattern == Pattern.FLOW_SYNC else "task_sync"
        page.note("pattern-mismatch", place, message, f"did you mean {advice}, or rillflow://?")


def _timeline(page: Page, view: View) -> None:
    timeline = view.task.get("timeline", {})
    place = f"{view.path}.timeline"
    if view.category in _NO_TIMEOUT and page.was_written(f"{place}.timeoutInSeconds"):
        message = f"a {view.category} takes no time: timeoutInSeconds does nothing"
        page.note("no-effect", f"{place}.timeoutInSeconds", message, "take it out")
    elif view.text("pattern") in (Pattern.TASK_SYNC, Pattern.FLOW_ASYNC) and timeline.get("timeoutInSeconds"):
        message = f"timeoutInSeconds does nothing for {view.text('pattern')}: the call has its own timeouts"
        page.note("no-effect", f"{place}.timeoutInSeconds", message, "see outbound.read_timeout_s, or use task_async")
    else:
        _timeout(page, place, as_text(timeline.get("timeoutInSeconds")), "input")
    for field in ("suspenseIntervalSeconds", "suspenseTimestamp"):
        text = as_text(timeline.get(field))
        if text.startswith("$"):
            only_from(page, f"{place}.{field}", text, "input", field)
        elif text.strip() and not _is_number(text):
            page.note("bad-number", f"{place}.{field}", f"{field} {shown(text)!r} is no number: nothing waits for it")
    if timeline.get("skipOnTimeout") and not (view.category == "suspense" and view.task.get("tolerance")):
        message = "skipOnTimeout counts only for a suspense with tolerance: true"
        page.note("no-effect", f"{place}.skipOnTimeout", message, "take it out, or add tolerance: true")


def _timeout(page: Page, place: str, text: str, root: str) -> None:
    if text.startswith("$"):
        only_from(page, f"{place}.timeoutInSeconds", text, root, "timeoutInSeconds")
    elif text.strip() and not (_is_number(text) and text.strip().lstrip("+").isdigit() and int(text[:18]) > 0):
        message = f"timeoutInSeconds {shown(text)!r} is no whole number above 0: there is no timeout"
        page.note("bad-number", f"{place}.timeoutInSeconds", message, "timeoutInSeconds: 60")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and len(text) <= 18 and "_" not in text


def _callback(page: Page, tree: Tree) -> None:
    callback = tree.document.get("callback")
    if callback is None:
        return
    name = as_text(callback.get("resourceName")).strip()
    if not name:
        page.note("no-effect", "callback", "a callback without resourceName calls nobody", "resourceName: http://host/path")
    elif page.protocols is not None and (scheme := name.partition("://")[0]) not in page.protocols:
        message = f"no installed task type serves {shown(scheme)}://"
        page.note("unserved-protocol", "callback.resourceName", message, "http://host/path")
