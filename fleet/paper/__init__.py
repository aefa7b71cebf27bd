"""The paper's experiments again: from profiles to small JSON results, figures and verdicts."""
