"""What a model costs: its widths and tables, from config.json and the heads of its weights."""
