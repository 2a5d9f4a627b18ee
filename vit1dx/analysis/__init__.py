"""What the tokens and attention maps of a track show: similarity, attention over time, onsets.

Functions of arrays first; those whose first argument is a track read it in bounded pieces, and take
one of a feature file as well as an Extractor's result.
"""
