"""How things run: the method protocol, one training loop, one predictor. Knows no method."""
