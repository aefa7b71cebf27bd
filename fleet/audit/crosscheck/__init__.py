"""Other libraries on the same images."""
