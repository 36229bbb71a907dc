"""The Dapr Workflow family: ``/v1.0/workflows/...`` and the two older prefixes (dapr-http-api)."""
