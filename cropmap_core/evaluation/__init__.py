"""Judging models by samples that they have not seen: predict, count, resample, compare, report."""
