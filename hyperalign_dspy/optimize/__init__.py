"""What tunes: the space, samplers, visits and their loop; where candidates come from."""
