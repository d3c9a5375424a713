"""The alarm of a fleet that crashes far more than it ever did, when nobody can say why."""
