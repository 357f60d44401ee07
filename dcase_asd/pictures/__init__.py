"""Figures of scores, results, fusions and training, and the page that shows them."""
