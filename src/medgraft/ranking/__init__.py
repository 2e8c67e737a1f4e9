"""Which source model to start from, without fine-tuning them all."""
