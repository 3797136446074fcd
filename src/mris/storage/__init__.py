"""Folders of ours in an object storage: found by their address, read where they lie, changed all at once.

What other rooms and users import from here; all else is private to the room:

- ``mris.storage.address``: `Address`, `local_folder`, `place_of`
- ``mris.storage.folder``: `Folder`, `changed`, `folder_at`, `n_left_behind`, `newest`, `require_free`,
  `sha256_at`, `work_beside`
- ``mris.storage.mirror``: `Mirror`
- ``mris.storage.objects``: `lance_options`, `reason_at`
- ``mris.storage.publish``: `new_folder`, `publish`, `standing_at`
"""
