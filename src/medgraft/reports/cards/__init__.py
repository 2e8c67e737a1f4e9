"""Model cards: what a saved model is for, what it learnt from, how good it is and where it must not be used."""
