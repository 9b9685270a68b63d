"""Model bundles, and classifying with them."""
