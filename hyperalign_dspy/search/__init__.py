"""The search: ask, visit, tell; then confirm on sealed users and freeze.

`compiler` is the whole, from a job to a verdict and a frozen program. It takes its candidates from `candidates`, learns
whom to visit next from `sampling`, has visits answered by `evaluate`, keeps what came in `record`, and ends with the
`verdict`. `optimizers` puts DSPy's in the place of our search, and `bench` compares them all.
"""
