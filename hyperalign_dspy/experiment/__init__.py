"""What proves: the plan, the pilot, the confirmation on sealed users, and what is made of them."""
