"""`andon status`: what the line does, live."""
