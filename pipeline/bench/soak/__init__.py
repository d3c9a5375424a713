"""`andon bench soak`: a constant load on the whole line, and whether anything grows."""
