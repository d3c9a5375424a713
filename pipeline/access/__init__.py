"""Who may do what with a cluster's topics."""
