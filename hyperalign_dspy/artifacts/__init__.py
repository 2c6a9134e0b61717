"""What ships: frozen programs, cards, exports, many requests from a file, profiles."""
