"""The worker's Python environment: where it is, whether it is sound, and how it is made."""
