"""Dapr component files (dapr-http-api 9): reading, loading, watching. The Dapr family asks for what is loaded."""

from tornflow.components.kinds import installed_kinds
from tornflow.components.loaded import Component, Components, Loaded
from tornflow.components.loading import ComponentSource, load_components

__all__ = ["Component", "ComponentSource", "Components", "Loaded", "installed_kinds", "load_components"]
