"""The reader: a bundle behind a page for people and an interface for programs (FastAPI, extra ``serve``).

What other rooms and users import from here; all else is private to the room:

- ``mris.web.app``: `create_app`
- ``mris.web.settings``: `ServeSettings`
"""
