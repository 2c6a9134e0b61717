"""What a person judges by: tables and words."""
