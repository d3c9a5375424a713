"""`andon query`: the analysts' named queries, and answers as they come over HTTP."""
