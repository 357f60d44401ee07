"""The outside world's rules: names, labels, editions, metrics and official files."""
