"""Overlays: edited byte by byte, rendered by the real kustomize behind a fence, compared object by object."""
