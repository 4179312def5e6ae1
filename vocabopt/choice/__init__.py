"""Which size: rules on the growth curve, how far to trust them, and one recommendation."""
