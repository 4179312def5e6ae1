"""`vocabopt chat-vector`: what an instruct model learned beyond its base, added to a base that was adapted."""
