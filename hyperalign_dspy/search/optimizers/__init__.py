"""DSPy's optimisers, and anyone's, under the same split, budget, record and confirmation."""
