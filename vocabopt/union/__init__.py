"""The union method of RedWhale and Chinese-LLaMA: a vocabulary trained apart, its pieces appended to the base's."""
