"""How sure may we be of a number: intervals and comparisons over patients."""
