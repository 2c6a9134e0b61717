"""What may stand in a slot: makers of instructions and demonstrations, and the pools that they fill."""
