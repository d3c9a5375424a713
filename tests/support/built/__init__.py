"""What is released: built once for the whole run, and installed where tests want it."""
