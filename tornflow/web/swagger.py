"""Swagger UI over ``/openapi.json``, at ``/swagger-ui.html`` and ``/swagger-ui/`` (rill-http-api 16).

All links are relative: the pages work below any path that a proxy serves them at.
"""

from __future__ import annotations

from importlib.resources import files

Page = tuple[str, bytes, str, dict[str, str]]

# The styles are set by script on elements, hence 'unsafe-inline'; the icons are data URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-start.js")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tornflow: HTTP interface</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{assets}swagger-ui.css">
</head>
<body>
<div id="swagger" data-document="{document}"></div>
<script src="{assets}swagger-ui-bundle.js"></script>
<script src="{assets}swagger-start.js"></script>
</body>
</html>
"""
# path -> from there to the assets, and to the document
_PLACES = {
    "/swagger-ui.html": ("swagger-ui/", "openapi.json"),
    "/swagger-ui/": ("", "../openapi.json"),
    "/swagger-ui/index.html": ("", "../openapi.json"),
}


def pages() -> list[Page]:
    """Return (path, body, content type, headers) of the page and its assets, read once."""
    found: list[Page] = [
        (path, _PAGE.format(assets=assets, document=document).encode(), "text/html; charset=utf-8", _HEADERS)
        for path, (assets, document) in _PLACES.items()
    ]
    static = files("tornflow.web") / "static"
    for name in _ASSETS:
        kind = _TYPES[name[name.rindex(".") :]]
        headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
        found.append((f"/swagger-ui/{name}", (static / name).read_bytes(), kind, headers))
    return found
