"""The page of a grid that chooses sources: can fine-tuning tell them apart, and would scores have found the best?"""
