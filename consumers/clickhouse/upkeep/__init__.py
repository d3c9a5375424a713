"""`andon backfill` and `andon forget`: tables made anew, and data dropped, while the stream runs."""
