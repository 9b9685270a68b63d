"""The packagings that Sentinel-2 L2A comes in, one module each.

Each has a function `find` that looks at candidates (files, and folders that are products), and returns the scenes it
made of them, what it skips with the reason, and which candidates it has thereby dealt with.
"""
