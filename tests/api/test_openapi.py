"""The OpenAPI document, Swagger UI, health and metrics."""

from __future__ import annotations

import re
from typing import Any

from jsonschema import Draft202012Validator
from prometheus_client import CollectorRegistry, Counter

from tornflow.api.dapr import routes as dapr
from tornflow.api.rill import routes as rill

ACTUATOR = {"/actuator", "/actuator/health", "/actuator/metrics", "/actuator/metrics/{name}", "/swagger-resources"}


async def test_every_route_is_documented(client: Any) -> None:
    document = (await client.get("/openapi.json")).json
    wanted = {prefix + route.path for prefix in rill.PREFIXES for route in rill.ROUTES}
    wanted |= {f"/{prefix}{route.path}" for prefix, route in dapr.ROUTES}
    wanted |= {"/healthz", "/readyz", "/metrics", "/actuator/prometheus", "/api/executions"}
    wanted |= ACTUATOR
    assert set(document["paths"]) == wanted
    assert document["openapi"] == "3.0.3"


async def test_the_document_stands_where_older_tools_look_for_it(client: Any) -> None:
    document = (await client.get("/openapi.json")).body
    for path in ("/v3/api-docs", "/v2/api-docs"):
        assert (await client.get(path)).body == document


async def test_operation_ids_are_unique_and_path_parameters_declared(client: Any) -> None:
    paths = (await client.get("/openapi.json")).json["paths"]
    operations = [(path, one) for path, methods in paths.items() for one in methods.values()]
    names = [one["operationId"] for _, one in operations]
    assert len(names) == len(set(names))
    for path, one in operations:
        declared = [param["name"] for param in one["parameters"] if param["in"] == "path"]
        assert declared == re.findall(r"\{(\w+)\}", path)


async def test_what_a_closed_server_answers_is_documented_where_it_does(client: Any) -> None:
    paths = (await client.get("/openapi.json")).json["paths"]
    open_to_all = {path for path, methods in paths.items() if "503" not in next(iter(methods.values()))["responses"]}
    probes = {"/healthz", "/readyz", "/metrics", "/actuator/prometheus", "/v1.0/healthz", "/v1.0/healthz/outbound"}
    assert open_to_all == probes | ACTUATOR
    headers = paths["/flow/submit.json"]["post"]["responses"]["503"]["headers"]
    assert list(headers) == ["Retry-After"]


async def test_every_schema_is_one(client: Any) -> None:
    document = (await client.get("/openapi.json")).json
    schemas = list(find_schemas(document))
    assert len(schemas) > 100
    for schema in schemas:
        Draft202012Validator.check_schema(schema)


def find_schemas(value: Any) -> Any:
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "schema":
                yield member
            yield from find_schemas(member)
    elif isinstance(value, list):
        for member in value:
            yield from find_schemas(member)


async def test_required_parameters_are_those_that_are_checked(client: Any) -> None:
    paths = (await client.get("/openapi.json")).json["paths"]
    for path in (prefix + route.path for prefix in rill.PREFIXES for route in rill.ROUTES):
        for method, operation in paths[path].items():
            needed = [one["name"] for one in operation["parameters"] if one["required"]]
            reply = await client.ask(
                method.upper(), path, body={"left": 1, "right": 1, "result_number": 1, "expect_number": 1}
            )
            assert (reply.status == 422) == bool(needed or "finish" in path), (path, reply.body)


async def test_health_is_alive_even_when_not_ready(start: Any) -> None:
    client = start(is_ready=lambda: "starting")
    assert (await client.get("/healthz")).status == 200
    reply = await client.get("/readyz")
    assert (reply.status, reply.json) == (503, {"status": "not ready", "reason": "starting"})
    assert (await start().get("/readyz")).status == 200


async def test_our_own_paths_word_errors_their_way(client: Any) -> None:
    reply = await client.post("/healthz")
    assert (reply.status, reply.json["code"], reply.headers["Allow"]) == (405, "wrong_method", "GET")
    reply = await client.get("/api/executions", {"limit": "many"})
    assert (reply.status, reply.json["code"]) == (400, "malformed_field")


async def test_requests_are_counted_by_path_template(start: Any) -> None:
    registry = CollectorRegistry()
    Counter("tornflow_somebody_elses", "seen at the same place", registry=registry).inc(3)
    client = start(registry=registry)
    await client.get("/flow/service_check.json")
    await client.get("/flow/service_check.json")
    await client.get("/flow/get.json")
    await client.get("/flow/nope.json")
    await client.ask("BREW", "/flow/get.json")
    await client.get("/v1.0/workflows/dapr/some-id")
    text = (await client.get("/actuator/prometheus")).body.decode()
    labels = 'application="rill-flow-web",exception="None",method="{}",outcome="{}",status="{}",uri="{}"'
    series = "http_server_requests_seconds_count{{" + labels + "}} {}"
    assert series.format("GET", "SUCCESS", 200, "/flow/service_check.json", "2.0") in text
    assert series.format("GET", "CLIENT_ERROR", 422, "/flow/get.json", "1.0") in text
    assert series.format("GET", "CLIENT_ERROR", 404, "/**", "1.0") in text
    assert series.format("UNKNOWN", "CLIENT_ERROR", 422, "/flow/get.json", "1.0") in text
    assert series.format("GET", "CLIENT_ERROR", 404, "/v1.0/workflows/{component}/{id}", "1.0") in text
    assert "http_server_requests_seconds_sum{" in text
    assert "tornflow_somebody_elses_total 3.0" in text
    assert (await client.get("/metrics")).body.decode().startswith("# HELP")
