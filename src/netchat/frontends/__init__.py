"""Faces: what people and programs drive a node with. They see api, model, errors, limits."""
