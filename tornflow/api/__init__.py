"""The edges: they translate between HTTP and the service, and decide nothing."""

from tornflow.api.application import make_application, make_dapr_application
from tornflow.api.edge import Edge, EdgeLimits

__all__ = ["Edge", "EdgeLimits", "make_application", "make_dapr_application"]
