"""Writing the extended tokenizer: from a sweep, or by joining a vocabulary trained elsewhere."""
