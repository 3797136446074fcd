"""Images: one file is one `Image`, whatever the format; preparation of sources and targets; atomic writing.

What other rooms and users import from here; all else is private to the room:

- ``mris.images.admission``: `ANY`, `admit`
- ``mris.images.anatomy``: `Anatomy`
- ``mris.images.arrays``: `read_mask`
- ``mris.images.dicom``: `read_dicom`, `read_dicom_facts`, `read_elements`
- ``mris.images.dicom_facts``: `find`, `named_sides`, `number`, `rescale`
- ``mris.images.edges``: `Edges`, `turned_as`
- ``mris.images.extent``: `Extent`, `alike`, `common_extent`
- ``mris.images.faults``: `LIBRARY_FAULTS`, `library_faults_as_image_error`
- ``mris.images.header``: `Header`, `Side`
- ``mris.images.image``: `Image`, `MAX_PIXELS`, `Spacing`, `side_name`, `usable_spacing`
- ``mris.images.lock``: `lock_descriptor`, `writer_lock`
- ``mris.images.nifti1``: `packed`
- ``mris.images.nifti_file``: `MM`, `NIFTI_FAULTS`, `open_nifti`, `read_header`, `read_voxels`, `unit_of`
- ``mris.images.read``: `file_of`, `read_image`
- ``mris.images.region``: `Region`
- ``mris.images.result_names``: `result_stems`
- ``mris.images.stream``: `truncated`
- ``mris.images.transforms``: `MUCH_OUTSIDE`, `SourcePreparation`, `crop_region_mm`, `mirror`, `prepare_source`,
  `resize_source`, `resize_target`, `resized_spacing`, `scale_intensity`, `share_outside`
- ``mris.images.two_numbers``: `two_numbers`
- ``mris.images.write``: `OWNER_ONLY`, `atomic_directory`, `atomic_write`, `check_writable_folder`,
  `clear_temporaries`, `folder_beside`, `share_alike`, `temporary_sibling`, `write_json`, `write_nifti`, `write_npz`,
  `write_png`
- ``mris.images.written``: `as_text`, `is_text`, `require_text_name`, `require_written`
"""
