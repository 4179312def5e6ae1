"""Counting chunks and the growth curve: exact token counts at every number of added tokens."""
