"""Optimisers and machinery measured: live, replayed from score tables, and what the machinery costs."""
