"""Who is visited next: the space, samplers, blocks and visits, and what is known after each."""
