"""Hooks of mkdocs."""

import re


def on_page_content(html: str, **kwargs) -> str:
    """Remove the names of Sphinx roles: docstrings have :class:`LightViT`."""
    return re.sub(r':(?:attr|class|data|func|meth|mod):(?=<code>)', '', html)
