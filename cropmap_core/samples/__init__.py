"""Training data: labels and legends, samples and how they are split, and where to train."""
