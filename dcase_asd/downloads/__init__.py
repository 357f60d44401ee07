"""What the challenge publishes -> the data tree, ground truth and weights."""
