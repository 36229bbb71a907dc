"""Signatures of callback URLs (rill-dsl 12.2, rill-http-api 2.6)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qsl, quote


def signed(url: str, secret: str) -> str:
    """Return ``url`` with its parameters sorted and a last parameter ``sign``.

    The signature is the Base64 text of HMAC-SHA1 over the sorted, percent-encoded query without ``sign``; several
    values of one name are joined with a comma.
    """
    base, _, query = url.partition("?")
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "sign":
            values.setdefault(name, []).append(value)
    text = "&".join(f"{_quoted(name)}={_quoted(','.join(values[name]))}" for name in sorted(values))
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()
    return f"{base}?{text}&sign={_quoted(base64.b64encode(digest).decode())}"


def _quoted(text: str) -> str:
    # The reference leaves only letters, digits, ".", "-" and "_" as they are; Python's quote also keeps "~".
    return quote(text, safe="").replace("~", "%7E")
