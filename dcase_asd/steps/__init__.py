"""The pipeline's steps: files in, files out; one function for each command."""
