"""The live page and its JSON: what the loop has learned, for a browser; mounted on whatever aiohttp application serves it."""

from stream.web.page import mount

__all__ = ["mount"]
