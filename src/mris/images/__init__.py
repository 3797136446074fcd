"""Images: one file is one `Image`, whatever the format; preparation of sources and targets; atomic writing."""
