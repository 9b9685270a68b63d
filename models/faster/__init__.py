"""Networks rewritten for prediction: the same numbers, sooner."""
