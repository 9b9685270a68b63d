"""What each bundled model learns from, how, and how it is judged."""
