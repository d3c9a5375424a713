"""How large a deployment has to be: measured figures, and arithmetic."""
