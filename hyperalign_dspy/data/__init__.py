"""Corpora: loading, briefs where a corpus has no requests, and splits by user."""
