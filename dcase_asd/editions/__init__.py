"""The years of the challenge: what each publishes, allows and measures."""
