"""The page of a ranking of sources: how sure the order is, and what fine-tuning the leaders gave."""
