"""Where every dataset stands, why, and who was told.

Declared states are moved along ``flows`` with evidence; observed facts stand beside them; what loading, pushes, streams and live
datasets did is followed, never guessed.
"""
