"""Several corpora side by side: does the choice of text move the choice of size?"""
