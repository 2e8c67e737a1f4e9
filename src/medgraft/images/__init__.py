"""From stored pixels to network input, and random changes of it: tensor in, tensor out."""
