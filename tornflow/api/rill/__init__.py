"""The Rill Flow family: ``/flow/...`` and the same under ``/2/flow/...`` (rill-http-api)."""
