"""Fixed pages: nothing from elsewhere, packed, with tags, and below any path that a proxy serves them at."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

PAGES = ("/swagger-ui.html", "/swagger-ui/", "/swagger-ui/index.html")
BUNDLE = "/swagger-ui/swagger-ui-bundle.js"


def links_of(page: str) -> list[str]:
    return re.findall(r'(?:src|href|data-document)="([^"]*)"', page.replace('href="data:,"', ""))


@pytest.mark.parametrize("below", ["", "/flows", "/a/b"])
@pytest.mark.parametrize("path", PAGES)
async def test_a_page_needs_nothing_from_elsewhere_wherever_it_is_served(start: Any, path: str, below: str) -> None:
    client = start(server_url=f"http://flows.example{below}")
    reply = await client.get(below + path)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in reply.headers["Content-Security-Policy"]
    page = reply.body.decode()
    assert "://" not in page and "<script>" not in page
    links = links_of(page)
    assert len(links) == 4
    for link in links:
        there = urlsplit(urljoin(f"http://flows.example{below}{path}", link)).path
        assert there.startswith(below + "/") and (await client.get(there)).status == 200, there
    script = (await client.get("/swagger-ui/swagger-start.js")).body.decode()
    assert "dataset.document" in script and "openapi" not in script


async def test_a_proxy_may_take_the_path_away_or_pass_it_on(start: Any) -> None:
    client = start(server_url="https://flows.example/below/")
    for path in ("/healthz", "/below/healthz", "/below/v1.0/metadata", "/v1.0/metadata"):
        assert (await client.get(path)).status == 200, path
    assert (await client.get("/belowhealthz")).status == 404
    servers = (await client.get("/below/openapi.json")).json["servers"]
    assert servers == [{"url": "/below"}, {"url": "https://flows.example/below/"}]


async def test_without_a_path_the_document_names_the_root(start: Any) -> None:
    servers = (await start(server_url="http://127.0.0.1:8080").get("/openapi.json")).json["servers"]
    assert servers[0] == {"url": "/"}


async def test_large_pages_are_packed_for_who_takes_it_and_are_the_same_then(client: Any) -> None:
    plain = await raw(client, BUNDLE, "identity")
    assert "Content-Encoding" not in plain.headers
    for accepted in ("gzip", "deflate, GZIP;q=0.5", "*"):
        packed = await raw(client, BUNDLE, accepted)
        assert packed.headers["Content-Encoding"] == "gzip" and packed.headers["Vary"] == "Accept-Encoding"
        assert len(packed.body) < len(plain.body) / 2
        assert gzip.decompress(packed.body) == plain.body
    for accepted in ("", "br", "gzip;q=0", "gzip; q=0.000, *", "identity"):
        assert "Content-Encoding" not in (await raw(client, BUNDLE, accepted)).headers, accepted


async def test_who_has_a_page_gets_no_body(client: Any) -> None:
    plain, packed = await raw(client, BUNDLE, "identity"), await raw(client, BUNDLE, "gzip")
    tag, other = plain.headers["Etag"], packed.headers["Etag"]
    assert tag != other
    for known in (tag, f'"x", W/{tag}', "*"):
        again = await raw(client, BUNDLE, "identity", known)
        assert (again.code, again.body) == (304, b""), known
    for unknown in ('"x"', other):
        assert (await raw(client, BUNDLE, "identity", unknown)).code == 200


async def test_pages_differ_in_their_tags(client: Any) -> None:
    paths = (*PAGES[:2], BUNDLE, "/swagger-ui/swagger-ui.css")
    tags = {(await client.get(path)).headers["Etag"] for path in paths}
    assert len(tags) == len(paths)


async def test_json_answers_have_no_tag(client: Any) -> None:
    reply = await client.get("/openapi.json")
    assert "Etag" not in reply.headers and json.loads(reply.body)


async def raw(client: Any, path: str, accepted: str, known: str = "") -> HTTPResponse:
    """Ask without the client unpacking anything."""
    headers = {name: text for name, text in (("Accept-Encoding", accepted), ("If-None-Match", known)) if text}
    request = HTTPRequest(client.base + path, headers=headers, decompress_response=False)
    return await AsyncHTTPClient().fetch(request, raise_error=False)
