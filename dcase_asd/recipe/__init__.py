"""Every value of a recipe, once."""
