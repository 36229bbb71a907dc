"""tornflow: a durable workflow server that speaks the Rill Flow and the Dapr Workflow REST families."""

__version__ = "0.1.0"
