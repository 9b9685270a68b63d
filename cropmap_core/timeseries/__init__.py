"""Time series: what every step of the chain is, and the steps that composite, fill and compute indices."""
