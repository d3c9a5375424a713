"""`andon doctor`: reach every server, and say in plain words what is wrong."""
