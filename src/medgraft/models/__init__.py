"""What predicts: classifiers, U-Nets, their heads, their files and where pre-trained ones come from."""
