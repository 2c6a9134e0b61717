"""The method: signatures, modules, adapters; and what a program, a recipe and a configuration are."""
