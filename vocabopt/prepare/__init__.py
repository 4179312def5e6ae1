"""Cleaning text before it is counted: a chain of steps, each measured by what it takes."""
