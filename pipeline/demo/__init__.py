"""`andon demo`: a line, an incident replayed against it, and the account of it."""
