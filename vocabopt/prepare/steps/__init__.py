"""The steps of the chain, a module each; a step's options are the fields of its dataclass."""
