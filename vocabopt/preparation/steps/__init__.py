"""The steps of a chain, a module each."""
