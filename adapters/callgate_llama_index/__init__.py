"""The LlamaIndex adapter. Not part of this version: it has no public names yet."""

__all__: list[str] = []
