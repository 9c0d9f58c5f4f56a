"""A program played hands-free, with captions and pauses; and the same as a recording."""
