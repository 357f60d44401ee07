"""One machine: normal recordings -> one ``.asd`` file; another recording -> a verdict and why."""
