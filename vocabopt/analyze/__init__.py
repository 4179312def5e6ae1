"""Any tokenizers side by side on any text: how they cut it, what of them it uses."""
