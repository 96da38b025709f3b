"""Raw ratings, and the scores that can be trusted among them."""
