"""Messages, topics and codecs: the only place that knows the format on the wire. Pure: no I/O, no clock."""
