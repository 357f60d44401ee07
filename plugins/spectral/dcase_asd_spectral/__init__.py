"""A backbone without weights: statistics of the log-mel spectrogram."""
