"""File names -> the manifest of clips and the classes that they belong to."""
