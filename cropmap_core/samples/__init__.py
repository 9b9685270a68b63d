"""Training sets: labelled samples of time series, how they are made, split and looked at."""
