"""`andon halts`: what stands halted and why, who obeys it, and people's orders about it."""
