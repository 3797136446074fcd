"""Embeddings, target images and metadata on disk, with exact and approximate search.

What other rooms and users import from here; all else is private to the room:

- ``mris.database.build``: `build_entries`, `commit_first`
- ``mris.database.changes``: `Removal`, `Writable`
- ``mris.database.checks``: `check_excluded`, `checked_queries`
- ``mris.database.commit``: `COMMIT_FILE`, `Commit`, `TableState`, `at_newest`
- ``mris.database.database``: `EXACT_BYTES`, `EmbeddingDatabase`
- ``mris.database.embed``: `check_unit_norm`
- ``mris.database.gallery``: `Gallery`, `MEMORY_LIMIT`
- ``mris.database.neighbors``: `Neighbors`
- ``mris.database.search``: `Groups`, `SearchResult`, `exact_search`
- ``mris.database.verify``: `VerifyReport`
"""
