"""The paper's Table I beside one's own."""
