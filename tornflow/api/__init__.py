"""The edges: they translate between HTTP and the service, and decide nothing."""

from tornflow.api.application import make_application, make_dapr_application
from tornflow.api.edge import Component, Edge, EdgeLimits

__all__ = ["Component", "Edge", "EdgeLimits", "make_application", "make_dapr_application"]
