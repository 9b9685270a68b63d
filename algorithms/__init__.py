"""One algorithm per file: parameters to a job, and the job's result to outputs. No computing."""
